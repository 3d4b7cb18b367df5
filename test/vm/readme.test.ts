/**
 * The README's first driver does what the README says.
 *
 * @kernel stock
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

test('the first driver runs as printed', () => {
  const root = join(__dirname, '../..');
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const [, code] = /^## The first driver$.*?^```js\n(.*?)^```$/ms.exec(readme)!;
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', code!], {
    cwd: root,
    encoding: 'utf8',
  });
  // The device's buffer, which no reset clears, still has what the last test put there.
  expect(output.replace(/\d+\n$/, '0\n')).toBe(
    'identification 10000ed\nDMA done: vector 0, 1 interrupt, first word 0\n',
  );
});
