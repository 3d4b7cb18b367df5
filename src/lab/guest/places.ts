/** Where the lab's own files are in the guest: before and after the switch to the host's files. */
export const STAGE1 = '/lab';
export const STAGE2 = '/run/vfio-lab';

/** Mount tags of the 9p shares. */
export const SHARES = { root: 'vfio-root', out: 'vfio-out' } as const;
