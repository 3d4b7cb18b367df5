#!/usr/bin/env node
// npm run demo: the PF and VF drivers of examples/igb in the lab.
import { cli, ready } from './ready.mjs';

ready();
process.exit(cli(['lab', '--device', 'igb', '--', 'node', 'build/examples/igb/demo.js']));
