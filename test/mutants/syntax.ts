import { parse } from '@babel/parser';

/** A node of the syntax tree, as plain as the mutators need it; offsets count UTF-16 units. */
export interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [member: string]: unknown;
}

/** Visits a node; its parents come nearest last. */
export type Visitor = (node: SyntaxNode, parents: readonly SyntaxNode[]) => void;

/** The syntax tree of a TypeScript module. @throws SyntaxError naming the place. */
export function parseModule(source: string): SyntaxNode {
  const file = parse(source, { sourceType: 'module', plugins: ['typescript'], attachComment: false });
  return file.program as unknown as SyntaxNode;
}

/** Type-level wrappers whose inner expression runs all the same. */
const TRANSPARENT = new Set([
  'TSAsExpression',
  'TSNonNullExpression',
  'TSSatisfiesExpression',
  'TSTypeAssertion',
  'TSInstantiationExpression',
]);

/** Walks everything that runs: types, imports and re-exports are left out. */
export function walk(root: SyntaxNode, visit: Visitor): void {
  const parents: SyntaxNode[] = [];
  const enter = (node: SyntaxNode): void => {
    if (TRANSPARENT.has(node.type)) {
      enter(child(node, 'expression') as SyntaxNode);
      return;
    }
    if (node.type.startsWith('TS') || node.type === 'ImportDeclaration' || node.declare === true) return;
    if (node.type === 'ExportAllDeclaration' || (node.type.startsWith('Export') && node.source)) return;
    visit(node, parents);
    parents.push(node);
    for (const member of Object.keys(node)) {
      const value = node[member];
      if (isNode(value)) enter(value);
      else if (Array.isArray(value)) for (const item of value) if (isNode(item)) enter(item);
    }
    parents.pop();
  };
  enter(root);
}

export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && typeof (value as SyntaxNode).type === 'string';
}

/** The child in `member`, where there is one. */
export function child(node: SyntaxNode, member: string): SyntaxNode | undefined {
  const value = node[member];
  return isNode(value) ? value : undefined;
}

/** The children in `member`, holes left out. */
export function children(node: SyntaxNode, member: string): SyntaxNode[] {
  const value = node[member];
  return Array.isArray(value) ? value.filter(isNode) : [];
}
