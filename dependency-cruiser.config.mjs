// The layers of docs/architecture.md, as rules: who may import whom. Run by `npm run check`, which also fails when
// this tool saw fewer modules than there are files.

/** Everything of the project's own, so that a rule can say "nothing but these". */
const OWN = '^(src|workers|test|prisma)/';

/**
 * Modules below `from` import nothing of the project except what the patterns allow.
 * @param {string} name
 * @param {string} from pattern of paths
 * @param {string[]} allowed patterns of paths
 * @param {string} comment
 */
function only(name, from, allowed, comment) {
  // Tests stand beside the source and may reach for test helpers.
  return {
    name,
    comment,
    severity: 'error',
    from: { path: from, pathNot: '\\.test\\.ts$' },
    to: { path: OWN, pathNot: [from, ...allowed] },
  };
}

const LIB = '^src/lib/';
const CONTRACTS = '^src/contracts/';
const INFRA = '^src/infra/';
const CONFIG = '^src/config/';
const MODULES = '^src/modules/';
const HYPERVISOR = '^src/hypervisor/';

/** The four parts of the machine that do not know one another: they meet in hypervisor/machine. */
const PARTS = ['chipset', 'devices', 'cpu', 'firmware'];

export default {
  forbidden: [
    only('lib-is-the-bottom', LIB, [], 'src/lib imports nothing else of the project'),
    only(
      'hypervisor-is-a-library',
      HYPERVISOR,
      [LIB],
      'the hypervisor knows nothing of the service around it',
    ),
    only('contracts', CONTRACTS, [LIB], 'contracts import only lib'),
    only('config', CONFIG, [LIB, CONTRACTS], 'settings import only lib and contracts'),
    only('infra', INFRA, [LIB, CONTRACTS, CONFIG], 'infra stands on lib, contracts and the settings'),
    only(
      'modules',
      MODULES,
      [LIB, CONTRACTS, CONFIG, INFRA],
      'modules stand on infra; they never import the hypervisor',
    ),
    only('plugins', '^src/plugins/', [LIB, CONTRACTS, CONFIG, INFRA, MODULES], 'plugins stand on modules'),
    only(
      'gateway',
      '^src/gateway/',
      [LIB, CONTRACTS, CONFIG, INFRA, MODULES],
      'the gateway stands on modules',
    ),
    only(
      'console',
      '^src/console/',
      [LIB, CONTRACTS],
      'the console runs in browsers and knows the service by its contract only',
    ),
    {
      name: 'console-is-built',
      comment: 'nothing imports the console; it is built and served',
      severity: 'error',
      from: { pathNot: '^src/console/' },
      to: { path: '^src/console/' },
    },
    {
      name: 'main-is-the-top',
      comment: 'the process and its wiring are imported by nobody below',
      severity: 'error',
      from: { pathNot: ['^src/(main|app)\\.ts$', '^test/', '\\.test\\.ts$'] },
      to: { path: '^src/(main|app)\\.ts$' },
    },
    only(
      'vm-process',
      '^workers/vm/',
      [LIB, HYPERVISOR, CONTRACTS],
      'a VM process has the hypervisor and no credentials',
    ),
    only(
      'agent',
      '^workers/(agent/|main\\.ts$)',
      [LIB, CONTRACTS, CONFIG, INFRA],
      'the agent talks to the VM process by messages only',
    ),
    only(
      'cli',
      '^src/cli/',
      [LIB, CONTRACTS, CONFIG, HYPERVISOR],
      'the client knows the service by its contract only; "run" uses the hypervisor',
    ),
    ...PARTS.map((part) => ({
      name: `${part}-stands-alone`,
      comment: `${PARTS.join(', ')} meet in hypervisor/machine only`,
      severity: 'error',
      from: { path: `^src/hypervisor/${part}/`, pathNot: '\\.test\\.ts$' },
      to: { path: `^src/hypervisor/(${PARTS.filter((other) => other !== part).join('|')})/` },
    })),
    only(
      'display-stands-on-backends',
      '^src/hypervisor/display/',
      [LIB, '^src/hypervisor/backends/'],
      'the display knows screens, keyboards and pointers, and no device',
    ),
    {
      name: 'devices-know-no-display',
      comment: 'what a device shows is a Screen; who looks at it is not its concern',
      severity: 'error',
      from: { path: `^src/hypervisor/(backends|${PARTS.join('|')})/`, pathNot: '\\.test\\.ts$' },
      to: { path: '^src/hypervisor/display/' },
    },
    {
      name: 'tests-are-imported-by-tests',
      severity: 'error',
      from: { path: '^(src|workers)/', pathNot: '\\.test\\.ts$' },
      to: { path: '^test/|\\.test\\.ts$' },
    },
    {
      name: 'resolvable',
      comment: 'an import that leads nowhere',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    // TypeScript 7 has no parser for other tools yet; with it alone no module would be seen, and all would pass.
    parser: 'swc',
    tsPreCompilationDeps: true,
    moduleSystems: ['es6'],
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^src/infra/generated/' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.tsx', '.js'],
      conditionNames: ['import', 'node', 'default'],
      exportsFields: ['exports'],
    },
  },
};
