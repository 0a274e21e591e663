import { Command, Option } from 'commander';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { optimise } from './service-runtime.ts';
import { versionText } from './version-text.ts';

// A service does so itself, once it has started.
if (process.argv[2] !== 'service') optimise();

const program = new Command('keyweave')
  .description(
    'Hybridization module for networks of trusted nodes: QKD and post-quantum keys woven into one.',
  )
  .option('-V, --version', 'version, commit, and the agreement that nodes speak with each other')
  .on('option:version', () => {
    process.stdout.write(`${versionText()}\n`);
    process.exit(0);
  })
  .showHelpAfterError("(see 'keyweave help')");

const addressOption = () =>
  new Option('--address <host:port>', "the node's JSON listener")
    .env('KEYWEAVE_ADDRESS')
    .default('127.0.0.1:65430');

const filesOf = (command: Command) =>
  command
    .requiredOption('--config <file>', "the node's config.json")
    .requiredOption('--peers <file>', "the node's trusted_peers_info.json");

filesOf(program.command('node'))
  .description('run one whole node: five services on the addresses in the files')
  .addHelpText(
    'after',
    '\nPrints one JSON line with "ready":true on stdout when it serves; SIGTERM stops it.',
  )
  .action(async (options) => (await import('./commands/node.ts')).runNode(options));

filesOf(program.command('service'))
  .description('run one service of a node (what containers run)')
  .argument('<name>', 'gateway, qkd-source, pqc-source, peer-broker or hybridizer')
  .option(
    '--addresses <json>',
    'internal addresses of all services, e.g. \'{"gateway":{"host":"127.0.0.1","port":50051}}\'',
  )
  .action(async (name, options) => (await import('./commands/service.ts')).runService(name, options));

program
  .command('demo')
  .description('three nodes with simulated key managers on this machine; shows equal keys at both ends')
  .action(async () => (await import('./commands/demo.ts')).runDemo());

program
  .command('driver')
  .description('one full OPEN_CONNECT, GET_KEY, CLOSE cycle against a node; run it at both ends')
  .argument('[request]', 'JSON file of the OPEN_CONNECT', 'open_connect_request.json')
  .addOption(addressOption())
  .option('--keys <n>', 'keys to fetch', '1')
  .option('--show-key', 'print the key itself, not only its fingerprint')
  .addHelpText(
    'after',
    '\nExample, in two terminals:\n  keyweave driver deploy/requests/open_connect_request.json --address 127.0.0.1:65430\n  keyweave driver deploy/requests/open_connect_request.json --address 127.0.0.2:65430',
  )
  .action(async (request, options) => (await import('./commands/driver.ts')).runDriver(request, options));

program
  .command('bulk-driver')
  .description('n such cycles at once')
  .argument('<n>', 'number of concurrent cycles')
  .argument('[request]', 'JSON file of the OPEN_CONNECT', 'open_connect_request.json')
  .addOption(addressOption())
  .option('--keys <n>', 'keys to fetch in each cycle', '1')
  .action(async (n, request, options) =>
    (await import('./commands/driver.ts')).runBulkDriver(n, request, options),
  );

program
  .command('kme-simulator')
  .description('simulated key managers, one for each address; their keys are NOT secret')
  .requiredOption('--listen <host:port...>', 'where each key manager listens; any two share streams')
  .option('--control <host:port>', 'HTTP port for faults: GET /state, POST /fault')
  .option('--rate <bit/s>', 'key rate over all streams; unlimited by default')
  .option('--buffer <bytes>', 'key that can be saved up', '1048576')
  .action(async (options) => (await import('./commands/kme-simulator.ts')).runKmeSimulator(options));

program
  .command('check-config')
  .description('check configuration files without starting anything')
  .argument('<folder...>', 'folders with config.json and trusted_peers_info.json')
  .action(async (folders) => (await import('./commands/check-config.ts')).runCheckConfig(folders));

program
  .command('algorithms')
  .description('the KEMs and hybridization methods that this machine can do')
  .option('--json', 'as JSON')
  .option('--bench [all]', 'measure them: the engine in use of each, or all engines (minutes)')
  .action(async (options) => (await import('./commands/algorithms.ts')).runAlgorithms(options));

const certs = program.command('certs').description('make a CA; issue, show, renew and revoke certificates');
certs
  .command('ca')
  .description('make a CA: ca.crt and ca.key')
  .option('--out <folder>', 'where to put it', 'certs/out/ca')
  .option('--days <n>', 'life in days', '3650')
  .option('--network <name>', 'SPIFFE trust domain', 'keyweave')
  .option('--force', 'replace what is there')
  .action(async (options) => (await import('./commands/certs.ts')).runCa(options));
certs
  .command('issue')
  .description("issue the certificates of a node's services, with the ca.key beside its CA certificate")
  .requiredOption('--config <file>', "the node's config.json")
  .option('--service <name...>', 'only these; "tool" is a client certificate for tools')
  .option('--days <n>', 'life in days', '90')
  .option('--ca-key <file>', "the CA's key, where it does not lie beside the CA's certificate")
  .action(async (options) => (await import('./commands/certs.ts')).runIssue(options));
certs
  .command('show')
  .description(
    'who certificates are of, until when they are good, and what for; status 1 where one is not good',
  )
  .argument('[file...]', 'PEM files')
  .option('--config <file>', "all of a node: its CAs, its services', those towards the key manager")
  .option('--json', 'as JSON')
  .action(async (files, options) => (await import('./commands/certs.ts')).runShow(files, options));
certs
  .command('renew')
  .description(
    'issue anew what is missing, has a third of its life left, is revoked or of another CA; running services load it',
  )
  .requiredOption('--config <file>', "the node's config.json")
  .option('--service <name...>', 'only these')
  .option('--days <n>', 'life in days', '90')
  .option('--ca-key <file>', "the CA's key, where it does not lie beside the CA's certificate")
  .option('--force', 'all, whatever their state')
  .action(async (options) => (await import('./commands/certs.ts')).runRenew(options));
certs
  .command('issue-client')
  .description('issue the certificate of an application or tool: <name>.crt and <name>.key')
  .argument('<name>', 'letters, digits, - _ .')
  .option('--ca <folder>', "the CA's folder, with ca.crt", 'certs/out/ca')
  .option('--ca-key <file>', "the CA's key; ca.key in that folder by default")
  .option('--out <folder>', 'where to put it', 'certs/out/clients')
  .option('--network <name>', 'SPIFFE trust domain', 'keyweave')
  .option('--days <n>', 'life in days', '90')
  .option('--force', 'replace what is there')
  .action(async (name, options) => (await import('./commands/certs.ts')).runIssueClient(name, options));
certs
  .command('revoke')
  .description("add certificates to the CA's revocation list; without any, sign the list anew")
  .argument('[file...]', 'PEM files of the certificates')
  .option('--ca <folder>', "the CA's folder, with ca.crt", 'certs/out/ca')
  .option('--ca-key <file>', "the CA's key; ca.key in that folder by default")
  .option('--crl <file>', 'the list; ca.crl in that folder by default')
  .option(
    '--reason <reason>',
    'unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation',
    'unspecified',
  )
  .option('--days <n>', 'when the next list is due', '90')
  .action(async (files, options) => (await import('./commands/certs.ts')).runRevoke(files, options));
certs
  .command('network')
  .description(
    "make a CA where there is none, and for each service of each node a folder with the CA's certificate, its own and its key",
  )
  .argument(
    '<config...>',
    "the nodes' config.json files; a node's folder is named after the folder of its file",
  )
  .requiredOption('--ca <folder>', "the CA's folder")
  .requiredOption('--out <folder>', 'where to put <node>/<service>/')
  .option('--days <n>', 'life in days; what has a third of it left stays as it is', '90')
  .option('--group-readable', 'let the group of the files read the keys')
  .action(async (configs, options) => (await import('./commands/certs.ts')).runNetwork(configs, options));

try {
  await program.parseAsync();
} catch (error) {
  const text =
    error instanceof KeyweaveError ? error.detail : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`keyweave: ${text}\n`);
  process.exitCode = 1;
}
