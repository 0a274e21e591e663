import { child, children, isNode, parseModule, type SyntaxNode, walk } from './syntax.ts';

/** One small fault: the text from `start` to `end` is replaced. */
export interface Mutant {
  /** Path from the root of the project. */
  readonly file: string;
  readonly mutator: string;
  readonly start: number;
  readonly end: number;
  /** From 1. */
  readonly line: number;
  readonly before: string;
  readonly after: string;
  /** The first line that it touches, as it stands and as it becomes; without the space around it. */
  readonly lineBefore: string;
  readonly lineAfter: string;
}

interface Plan {
  readonly mutator: string;
  readonly node: Pick<SyntaxNode, 'start' | 'end'>;
  readonly after: string;
}

type Mutator = (
  node: SyntaxNode,
  parents: readonly SyntaxNode[],
  text: (place: Plan['node']) => string,
) => Plan[];

/** Every mutant of a source. */
export function mutantsOf(file: string, source: string): Mutant[] {
  const text = ({ start, end }: Plan['node']) => source.slice(start, end);
  const mutants: Mutant[] = [];
  walk(parseModule(source), (node, parents) => {
    for (const mutator of MUTATORS) {
      for (const { mutator: name, node: place, after } of mutator(node, parents, text)) {
        mutants.push(mutantAt(file, source, name, place, after));
      }
    }
  });
  return mutants;
}

function mutantAt(
  file: string,
  source: string,
  mutator: string,
  { start, end }: Plan['node'],
  after: string,
): Mutant {
  const lineStart = source.lastIndexOf('\n', start - 1) + 1;
  const lineOf = (all: string) => all.slice(lineStart).split('\n', 1).join().trim();
  return {
    file,
    mutator,
    start,
    end,
    line: source.slice(0, start).split('\n').length,
    before: source.slice(start, end),
    after,
    lineBefore: lineOf(source),
    lineAfter: lineOf(source.slice(0, start) + after + source.slice(end)),
  };
}

/** The operator and what stands around it; the operands' own parentheses lie there, too. */
function operatorOf(node: SyntaxNode): Plan['node'] | undefined {
  const [left, right] = [child(node, 'left'), child(node, 'right')];
  return left && right ? { start: left.end, end: right.start } : undefined;
}

const isTestOf = (parent: SyntaxNode | undefined, node: SyntaxNode) =>
  parent !== undefined && child(parent, 'test') === node;

const one = (mutator: string, node: Plan['node'], after: string): Plan[] => [{ mutator, node, after }];

/** Tests of `if`, `?:` and loops: always, never. A loop that never ends is no fault worth the wait. */
const condition: Mutator = (node) => {
  const test = child(node, 'test');
  if (!test || node.type === 'SwitchCase') return [];
  const isLoop = node.type !== 'IfStatement' && node.type !== 'ConditionalExpression';
  const operator = test.type === 'LogicalExpression' ? test.operator : undefined;
  return [
    // With its operands dropped one by one (below) these add nothing.
    ...(isLoop || operator === '&&' ? [] : one('condition', test, 'true')),
    ...(operator === '||' ? [] : one('condition', test, 'false')),
  ];
};

const BOUNDARY: Readonly<Record<string, string>> = { '<': '<=', '<=': '<', '>': '>=', '>=': '>' };
const NEGATED: Readonly<Record<string, string>> = {
  ...{ '===': '!==', '!==': '===', '==': '!=', '!=': '==' },
  ...{ '<': '>=', '>=': '<', '>': '<=', '<=': '>' },
};

const comparison: Mutator = (node, parents, text) => {
  const place = node.type === 'BinaryExpression' ? operatorOf(node) : undefined;
  const operator = String(node.operator);
  const [boundary, negated] = [BOUNDARY[operator], NEGATED[operator]];
  if (!place || negated === undefined) return [];
  const by = (other: string) => text(place).replace(operator, other);
  return [
    ...(boundary === undefined ? [] : one('boundary', place, by(boundary))),
    // As a whole test it is made always and never true already.
    ...(isTestOf(parents.at(-1), node) ? [] : one('negation', place, by(negated))),
  ];
};

/** Each operand of && || ?? alone; and assignments that happen without their condition. */
const logical: Mutator = (node, _parents, text) => {
  const place = operatorOf(node);
  const operator = String(node.operator);
  if (node.type === 'AssignmentExpression' && place && ['&&=', '||=', '??='].includes(operator))
    return one('logical', place, text(place).replace(operator, '='));
  if (node.type !== 'LogicalExpression') return [];
  const operands = [child(node, 'left'), child(node, 'right')].filter(isNode);
  return operands.flatMap((operand) => one('logical', node, `(${text(operand)})`));
};

const ARITHMETIC: Readonly<Record<string, string>> = {
  ...{ '+': '-', '-': '+', '*': '/', '/': '*', '%': '*', '**': '*' },
  ...{ '&': '|', '|': '&', '^': '|', '<<': '>>', '>>': '<<', '>>>': '<<' },
};

const isText = (node: SyntaxNode | undefined) =>
  node?.type === 'StringLiteral' || node?.type === 'TemplateLiteral';

const arithmetic: Mutator = (node, parents, text) => {
  const operator = String(node.operator);
  if (node.type === 'BinaryExpression' || node.type === 'AssignmentExpression') {
    const place = operatorOf(node);
    const bare = node.type === 'AssignmentExpression' ? operator.slice(0, -1) : operator;
    const other = ARITHMETIC[bare];
    if (!place || other === undefined || isText(child(node, 'left')) || isText(child(node, 'right')))
      return [];
    return one('arithmetic', place, text(place).replace(bare, other));
  }
  const argument = child(node, 'argument');
  if (node.type === 'UpdateExpression' && argument) {
    const parent = parents.at(-1);
    if (parent?.type === 'ForStatement' && child(parent, 'update') === node) return [];
    return one('arithmetic', node, text(node).replace(operator, operator === '++' ? '--' : '++'));
  }
  if (node.type === 'UnaryExpression' && (operator === '-' || operator === '~') && argument)
    return one('arithmetic', node, `(${text(argument)})`);
  return [];
};

const truth: Mutator = (node, parents, text) => {
  if (node.type === 'BooleanLiteral') return one('boolean', node, node.value === true ? 'false' : 'true');
  const argument = child(node, 'argument');
  if (node.type !== 'UnaryExpression' || node.operator !== '!' || !argument) return [];
  return isTestOf(parents.at(-1), node) ? [] : one('boolean', node, `(${text(argument)})`);
};

const NUMBER_LIMIT = 1024;

/** A small number becomes the next one; times and budgets become next to nothing. */
const number: Mutator = (node, parents, text) => {
  if (node.type !== 'NumericLiteral' && node.type !== 'BigIntLiteral') return [];
  const value = Number(node.value);
  const declarator = parents.findLast(({ type }) => type === 'VariableDeclarator');
  const name = declarator && child(declarator, 'id')?.name;
  const isTime = typeof name === 'string' && /(^|_)MS$/.test(name);
  const next = isTime || value > NUMBER_LIMIT ? (value === 1 ? 0 : 1) : value + 1;
  return one('number', node, `${next}${text(node).endsWith('n') ? 'n' : ''}`);
};

/** Statements whose value nobody takes: calls and assignments. What is logged is no part of the behaviour tested here. */
const statement: Mutator = (node, parents) => {
  const parent = parents.at(-1);
  // `if (x) y();` is skipped by its condition already.
  if (parent?.type === 'IfStatement' && !child(parent, 'alternate')) return [];
  const expression = node.type === 'ExpressionStatement' ? child(node, 'expression') : undefined;
  if (!expression) return [];
  if (expression.type === 'AssignmentExpression') return one('assignment removed', node, ';');
  const call = expression.type === 'AwaitExpression' ? child(expression, 'argument') : expression;
  const inner = call?.type === 'UnaryExpression' ? child(call, 'argument') : call;
  if (!inner || !/^(Optional)?CallExpression$/.test(inner.type)) return [];
  if (child(inner, 'callee')?.type === 'Super' || isLogging(inner)) return [];
  return one('call removed', node, ';');
};

/** `log.warning(…)`, `this.#log.info(…)`, `options.log.debug(…)`. */
function isLogging(call: SyntaxNode): boolean {
  const callee = child(call, 'callee');
  const receiver = callee && child(callee, 'object');
  return receiver !== undefined && lastName(receiver) === 'log';
}

function lastName(node: SyntaxNode): string | undefined {
  const named = child(node, 'property') ?? node;
  const name = named.type === 'PrivateName' ? child(named, 'id')?.name : named.name;
  return typeof name === 'string' ? name : undefined;
}

const VALUELESS = new Set([
  'BooleanLiteral',
  'NumericLiteral',
  'NullLiteral',
  'StringLiteral',
  'TemplateLiteral',
]);

const result: Mutator = (node) => {
  const value =
    node.type === 'ReturnStatement'
      ? child(node, 'argument')
      : node.type === 'ArrowFunctionExpression' && child(node, 'body')?.type !== 'BlockStatement'
        ? child(node, 'body')
        : undefined;
  if (!value || VALUELESS.has(value.type) || value.name === 'undefined') return [];
  return one('return', value, 'undefined');
};

/** Texts that are data: people's words (they hold a space) are not tested for their wording. */
const string: Mutator = (node, parents, text) => {
  const isTemplate = node.type === 'TemplateLiteral';
  if (node.type !== 'StringLiteral' && !isTemplate) return [];
  const parent = parents.at(-1);
  if (!parent || child(parent, 'key') === node || parent.type === 'TaggedTemplateExpression') return [];
  if (isTestOf(parent, node)) return [];
  if (text(node).length === 2 || (isWords(text(node)) && !isBytes(parent))) return [];
  if (parents.some((each) => each.type === 'CallExpression' && isLogging(each))) return [];
  // `typeof` gives words that no test needs to tell apart from nonsense: that is the negation's.
  if (parent.type === 'BinaryExpression' && text(parent).includes('typeof ')) return [];
  return one('string', node, isTemplate ? '``' : "''");
};

const isWords = (text: string) => text.replaceAll(/\$\{[^}]*\}/g, '').includes(' ');

/** `Buffer.from('…')` makes a label of whatever it is given. */
const isBytes = (parent: SyntaxNode) =>
  parent.type === 'CallExpression' && lastName(child(parent, 'callee') ?? parent) === 'from';

const optionalChain: Mutator = (node, _parents, text) => {
  if (!node.type.startsWith('Optional') || node.optional !== true) return [];
  const base = child(node, node.type === 'OptionalCallExpression' ? 'callee' : 'object');
  if (!base) return [];
  const start = base.end + text({ start: base.end, end: node.end }).indexOf('?.');
  const isAccess = /[\w#$]/.test(text({ start: start + 2, end: start + 3 }));
  return one('optional chain', { start, end: start + 2 }, isAccess ? '.' : '');
};

/** Blocks that do more than one thing; a single statement is removed or changed by itself. */
const block: Mutator = (node, parents) => {
  const parent = parents.at(-1);
  if (node.type !== 'BlockStatement' || !parent) return [];
  // The consequent of an `if` is skipped by its condition; a constructor must call its parent's.
  if (parent.type === 'TryStatement' && child(parent, 'finalizer') !== node) return [];
  if (parent.type === 'IfStatement' && child(parent, 'alternate') !== node) return [];
  if (parent.kind === 'constructor') return [];
  const statements = children(node, 'body');
  const [only] = statements;
  if (!only) return [];
  const isMutatedAlone = only.type === 'ReturnStatement' || only.type === 'ExpressionStatement';
  return statements.length === 1 && isMutatedAlone ? [] : one('block removed', node, '{}');
};

const switchCase: Mutator = (node) => {
  const test = node.type === 'SwitchCase' ? child(node, 'test') : undefined;
  return test ? one('case', test, 'Symbol()') : [];
};

const MUTATORS: readonly Mutator[] = [
  condition,
  comparison,
  logical,
  arithmetic,
  truth,
  number,
  statement,
  result,
  string,
  optionalChain,
  block,
  switchCase,
];
