// Who gets what: tasks of known cost are dealt to hands of equal size, as far as that goes.

/**
 * Deals items into `count` hands whose costs differ little: the most expensive first, each to the
 * hand that has least. Hands may be empty if there are fewer items.
 *
 * @param cost of an item, in any unit
 */
export function deal(items, count, cost) {
  const hands = Array.from({ length: count }, () => ({ items: [], cost: 0 }));
  const costs = new Map(items.map((item) => [item, cost(item)]));
  const byCost = [...items].sort((a, b) => costs.get(b) - costs.get(a));
  for (const item of byCost) {
    const least = hands.reduce((best, hand) => (hand.cost < best.cost ? hand : best));
    least.items.push(item);
    least.cost += costs.get(item);
  }
  return hands;
}
