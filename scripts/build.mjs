#!/usr/bin/env node
import { build } from './ready.mjs';

build();
