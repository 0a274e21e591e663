import { Command, CommanderError, Option } from 'commander';
import { failureText } from '#common/errors/system-error.ts';
import { EXIT, exitCodeOf } from './ending/exit-codes.ts';
import { optimise } from './service-runtime.ts';
import { versionText } from './version/version-text.ts';

// A service does so itself, once it has started.
if (process.argv[2] !== 'service') optimise();

const program = new Command('keyweave')
  .description(
    'Hybridization module for networks of trusted nodes: QKD and post-quantum keys woven into one.',
  )
  .option('-V, --version', 'version, commit, and the agreement that nodes speak with each other')
  .on('option:version', () => {
    process.stdout.write(`${versionText()}\n`);
    process.exit(EXIT.DONE);
  })
  .showHelpAfterError("(see 'keyweave help')")
  // Before the commands, which inherit it: what ends a command is told by its exit code.
  .exitOverride();

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

/** What both drivers take. */
const drives = (command: Command, keys: string) =>
  command
    .argument('[request]', 'JSON file of the OPEN_CONNECT; - reads stdin', 'open_connect_request.json')
    .addOption(addressOption())
    .option('--keys <n>', keys, '1')
    .option('--json', 'tell the outcome as JSON')
    .option('--ca <file>', 'speak TLS, to a listener whose certificate is of this CA')
    .option('--cert <file>', 'the own certificate, for a listener with mutual TLS')
    .option('--key <file>', 'its key')
    .option(
      '--server-name <name>',
      "name in the listener's certificate, where it is not the host of --address",
    );

drives(program.command('driver'), 'keys to fetch')
  .description('one full OPEN_CONNECT, GET_KEY, CLOSE cycle against a node; run it at both ends')
  .option('--show-key', 'print the key itself, not only its fingerprint')
  .option(
    '--peer-address <host:port>',
    "the other node's JSON listener: run the other application, too, and compare the keys",
  )
  .addHelpText(
    'after',
    '\nExample, in two terminals:\n  keyweave driver deploy/requests/open_connect_request.json --address 127.0.0.1:65430\n  keyweave driver deploy/requests/open_connect_request.json --address 127.0.0.2:65430' +
      '\n\nWhatever ends it, the stream is closed. Exit codes: 0 done (also with an adjusted QoS, status 7), 2 command line, 3 files, 5 nobody answers, 6 the node refused, 130 Ctrl-C.',
  )
  .action(async (request, options) => (await import('./commands/driver.ts')).runDriver(request, options));

drives(
  program.command('bulk-driver').argument('<n>', 'number of concurrent cycles'),
  'keys to fetch in each cycle',
)
  .description('n such cycles at once')
  .action(async (n, request, options) =>
    (await import('./commands/driver.ts')).runBulkDriver(n, request, options),
  );

program
  .command('call')
  .description('one call of the gRPC API of a node, for those who have no other tool for it')
  .argument(
    '<method>',
    'OpenConnect, GetKeys, WatchKeys, Close, GetStatus, ListStreams, ListAlgorithms, Check …',
  )
  .argument('[json]', 'the request, as JSON; for WatchKeys one or several', '{}')
  .option('--address <host:port>', 'where the node serves gRPC', '127.0.0.1:50051')
  .option('--ca <file>', "CA of the node's certificate", 'certs/out/ca/ca.crt')
  .requiredOption('--cert <file>', 'the own certificate')
  .requiredOption('--key <file>', 'its key')
  .option('--server-name <name>', "name in the node's certificate, where it is not the host of --address")
  .option('--timeout <seconds>', 'how long the call may take', '30')
  .addHelpText(
    'after',
    '\nPrints each answer as a line of JSON, keys in base64. Exit codes: 0 done, 2 command line, 3 files, 5 nobody answers, 6 the node refused.',
  )
  .action(async (method, json, options) =>
    (await import('./commands/call.ts')).runCall(method, json, options),
  );

program
  .command('status')
  .description('what a running node tells of itself: peers, streams, rates, sources, refusals, certificates')
  .option(
    '--address <host:port...>',
    "the node's health port; those of all its services where each runs by itself",
    ['127.0.0.1:9465'],
  )
  .option('--watch', 'again every two seconds, until Ctrl-C')
  .option('--json', 'as JSON; with --watch an object a line')
  .addHelpText('after', '\nThe node needs the sections health and telemetry in its config.json.')
  .action(async (options) => (await import('./commands/status.ts')).runStatus(options));

program
  .command('kme-simulator')
  .description('simulated key managers, one for each address; their keys are NOT secret')
  .requiredOption('--listen <host:port...>', 'where each key manager listens; any two share streams')
  .addOption(
    new Option('--dialect <name>', 'what they speak')
      .choices(['etsi004-json', 'etsi004-binary', 'etsi014'])
      .default('etsi004-json'),
  )
  .option(
    '--tls <ca.crt>',
    'TLS with client certificates of this CA; its ca.key beside it makes the own certificate',
  )
  .option('--sae <id...>', 'with etsi014: the SAE id of who calls each address, in their order')
  .option('--control <host:port>', 'HTTP port for faults: GET /state, POST /fault')
  .option('--rate-bps <bit/s>', 'key rate over all streams; unlimited by default')
  .option('--buffer <bytes>', 'key that can be saved up', '1048576')
  .option('--poisson', 'key comes as single keys at random moments, and not evenly')
  .option(
    '--outages <every/for>',
    'the link stands still again and again, such as 60s/10s: the last 10 of each 60 s',
  )
  .action(async (options) => (await import('./commands/kme-simulator.ts')).runKmeSimulator(options));

program
  .command('check-config')
  .description('check configuration files without starting anything')
  .argument('[folder...]', 'folders with config.json and trusted_peers_info.json')
  .option('--config <file>', 'a config.json of another name or place, with --peers')
  .option('--peers <file>', 'the trusted_peers_info.json that goes with it')
  .option('--service <name>', "as 'keyweave service <name>' does; by default as 'keyweave node', all five")
  .option(
    '--elsewhere',
    'the files are for another machine: judge their texts, not the certificates and folders that they name',
  )
  .addHelpText(
    'after',
    '\nJudges as the start does. What is wrong goes to stderr, a line each, with file, key and line; the exit code is 3 then.',
  )
  .action(async (folders, options) =>
    (await import('./commands/check-config.ts')).runCheckConfig(folders, options),
  );

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
  .option('--server <name...>', 'also for servers that are no part of a node, <name>/server.crt and .key')
  .option('--days <n>', 'life in days; what has a third of it left stays as it is', '90')
  .option('--group-readable', 'let the group of the files read the keys')
  .action(async (configs, options) => (await import('./commands/certs.ts')).runNetwork(configs, options));

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? EXIT.DONE : EXIT.USAGE);
  process.stderr.write(`keyweave: ${failureText(error)}\n`);
  // A command that has failed ends, whatever it has begun to listen on or to wait for.
  process.exit(exitCodeOf(error));
}
