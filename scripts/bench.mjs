#!/usr/bin/env node
// npm run bench: ours against C, natively and in the lab. Needs gcc besides what npm test needs.
import { join } from 'node:path';
import { ready, root, run } from './ready.mjs';

ready();
process.exit(run(process.execPath, [join(root, 'dist/bench/main.js'), ...process.argv.slice(2)]));
