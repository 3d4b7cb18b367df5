/** `vfio lab` on every release of Node; needs dist/ (`npm run build`). */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Lab, startLab } from 'vfio/lab';
import { NODE_RELEASES, nodeRelease } from './node-releases';

jest.setTimeout(120_000);

let lab: Lab;
beforeAll(async () => {
  lab = await startLab({ devices: [] });
});
afterAll(() => lab.close());

test.each(NODE_RELEASES)('a command in a lab by Node %s', async (version) => {
  const node = await nodeRelease(version);
  const cli = `${__dirname}/../../dist/cli.js`;
  const args = [cli, 'lab', 'exec', lab.id, '--', 'sh', '-c', 'echo out; echo err >&2'];
  const { stdout, stderr } = await promisify(execFile)(node, args);
  expect({ stdout, stderr }).toEqual({ stdout: 'out\n', stderr: 'err\n' });
});
