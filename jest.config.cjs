const project = (name) => ({
  displayName: name,
  rootDir: __dirname,
  testMatch: [`<rootDir>/test/${name}/**/*.test.ts`],
  testEnvironment: 'node',
  transform: { '^.+\\.ts$': '@swc/jest' },
  moduleNameMapper: {
    '^vfio$': '<rootDir>/src/index.ts',
    '^vfio/lab$': '<rootDir>/src/lab/index.ts',
  },
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/build'],
});

// unit: a fake addon; addon: the real one, on memfds and eventfds; lab: boots VMs. What runs inside
// VMs (test/vm, test/noiommu) is bundled for them by scripts/test.
module.exports = {
  // An emulated processor is 10 to 30 times slower; a hang is still found.
  testTimeout: 120_000,
  projects: ['unit', 'addon', 'lab'].map(project),
};
