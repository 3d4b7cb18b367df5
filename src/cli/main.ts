#!/usr/bin/env node
import { splitCommandLine } from './arguments';
import { loadProgram } from './program';

const { own, guestCommand } = splitCommandLine(process.argv);

void loadProgram(own[2], guestCommand).parseAsync(own);
