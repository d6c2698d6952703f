// For child processes of tests: `node --import <this file> program.ts` runs TypeScript on every Node that we support.
import { register } from 'node:module';

register(new URL('./typescript-hooks.js', import.meta.url));
