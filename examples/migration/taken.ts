/** What the side that a device moves to answers once its driver has taken it. */
export const TAKEN = 'taken\n';
