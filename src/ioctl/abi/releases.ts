/**
 * The mainline release whose headers had each name of the table first, with the meaning it has now.
 * Compared with the headers of 5.10, 6.1, 6.12, 7.2 and 7.3; of a few names only the releases around
 * are known. Distributions take features back to older kernels: whether the running one has
 * something is for a probe to tell.
 */
import { iommufdReleases } from './iommufd-releases';
import { vfioReleases } from './vfio-releases';

function byName(releases: Readonly<Record<string, string>>): [name: string, release: string][] {
  return Object.entries(releases).flatMap(([release, names]) =>
    names
      .trim()
      .split(/\s+/)
      .map((name): [string, string] => [name, release]),
  );
}

/** From names of requests, structs, features, capabilities and constants to releases such as `6.2` or `6.13 to 7.2`. */
export const since: ReadonlyMap<string, string> = new Map([
  ...byName(vfioReleases),
  ...byName(iommufdReleases),
]);
