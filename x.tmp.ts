import { startLocalNetwork } from './services/cli/local-network.ts';
console.time('start');
const n = await startLocalNetwork({ names: ['Alice'], onLog: (a,l)=>console.log(a,l) }); console.timeEnd('start');
await n.stop();
