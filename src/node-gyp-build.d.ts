declare module 'node-gyp-build' {
  /** The addon's file: a prebuild that fits this platform, else `build/Release`. Throws if neither is there. */
  export function resolve(root: string): string;
}
