// What Gradio puts in the scope of a component's script; only context.js uses it.

declare const element: HTMLElement;
declare const props: import('./context.js').Props;
declare const server: Record<
  string,
  (request: object) => Promise<import('./server.js').Answer | null>
>;
