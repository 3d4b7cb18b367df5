/** The pictures of all machines; those in docs/ come from here (VFIO_UPDATE_PICTURES=1 writes them). */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DOMParser, type Element, onErrorStopParsing } from '@xmldom/xmldom';
import { htmlPage } from '../../src/topology/html';
import { svgPicture } from '../../src/topology/svg';
import { flatten, readTopology } from '../../src/topology/tree';
import * as machines from '../fixtures/machines';
import { bootMachine, type FakeMachine, removeMachine } from './fake-machine';

jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

afterAll(removeMachine);

const known: readonly [string, FakeMachine][] = Object.entries(machines);

function topologyOf(machine: FakeMachine) {
  bootMachine(machine);
  return readTopology();
}

function parse(svg: string): Element[] {
  const parser = new DOMParser({ onError: onErrorStopParsing });
  return [...parser.parseFromString(svg, 'image/svg+xml').getElementsByTagName('*')];
}

/** What must not be in a picture: controls, what turns the direction of writing, non-characters. */
const raw = /[^\P{Cc}\n]|[\u202a-\u202e\u2066-\u2069\ufffe\uffff]/u;

test.each(known)('%s: well-formed, harmless, and every function is in it', (_name, machine) => {
  const roots = topologyOf(machine);
  const svg = svgPicture(roots);
  const elements = parse(svg);
  const allowed = new Set(['svg', 'title', 'style', 'rect', 'text', 'tspan', 'path', 'g']);
  expect(elements.map(({ tagName }) => tagName).filter((tag) => !allowed.has(tag))).toEqual([]);
  const attributes = elements.flatMap((element) => [...element.attributes]);
  expect(attributes.filter(({ name }) => /^on|href|style$/.test(name))).toEqual([]);
  expect(svg).not.toMatch(raw);
  const titles = elements.filter(({ tagName }) => tagName === 'title');
  for (const { bdf } of flatten(roots)) {
    expect(titles.filter(({ textContent }) => textContent?.startsWith(bdf))).toHaveLength(1);
  }
  const page = htmlPage(roots);
  expect(page).toContain(svg);
  expect(page).not.toMatch(raw);
  expect(page).not.toMatch(/<script|https?:(?!\/\/www\.w3\.org\/2000\/svg)/i);
});

test('boxes do not overlap, and stay inside', () => {
  for (const [, machine] of known) {
    const [svg, ...elements] = parse(svgPicture(topologyOf(machine)));
    const number = (element: Element, name: string) => Number(element.getAttribute(name) ?? 0);
    const boxes = elements.filter(({ parentNode, tagName }) => {
      return tagName === 'rect' && parentNode?.nodeName === 'g';
    });
    let bottom = 0;
    for (const box of boxes) {
      expect(number(box, 'y')).toBeGreaterThan(bottom);
      bottom = number(box, 'y') + number(box, 'height');
      expect(number(box, 'x') + number(box, 'width')).toBeLessThan(number(svg!, 'width'));
    }
    expect(bottom).toBeLessThan(number(svg!, 'height'));
  }
});

test('the page tells why a group has several functions', () => {
  const page = htmlPage(topologyOf(machines.blockedGroup));
  expect(page).toContain('<li>ACS of 0000:00:01.2 above is off</li>');
  expect(page).toContain('no ACS in 0000:01:00.0 and 0000:01:00.1</li>');
  expect(htmlPage(topologyOf(machines.laptop))).toContain('No IOMMU is in front of them');
});

test.each([
  ['sriov-server.svg', machines.sriovServer, svgPicture],
  ['card-without-acs.svg', machines.blockedGroup, svgPicture],
  ['card-without-acs.html', machines.blockedGroup, htmlPage],
])('docs/pictures/%s is what the command draws', (name, machine, draw) => {
  const file = join(__dirname, `../../docs/pictures/${name}`);
  const picture = draw(topologyOf(machine));
  if (process.env.VFIO_UPDATE_PICTURES) writeFileSync(file, picture);
  expect(readFileSync(file, 'utf8')).toBe(picture);
});
