import { KEM_ENGINE_NAMES } from '#common/catalogue/kems.ts';
import { type AvailableEngines, createEngines } from '../../services/pqc-source/engines/built-in-engines.ts';

/** Every engine of this machine, for tests of what all of them must do. The caller closes them. */
export const available: AvailableEngines = createEngines(KEM_ENGINE_NAMES);

/** Why tests of the native engine are left out; false where it is built. */
export const nativeMissing: string | false = available.missing.get('liboqs-native') ?? false;
