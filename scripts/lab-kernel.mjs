#!/usr/bin/env node
// npm run lab-kernel: the kernel on which npm test has the most to test, built unless it is there.
import { build, cli } from './ready.mjs';

build();
process.exit(cli(['lab', 'kernel']));
