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

// unit: host, fake addon; addon: host, real addon on memfds and eventfds;
// lab: host, boots VMs; vm: runs inside one, against the real kernel; noiommu: inside one whose
// IOMMU is off.
module.exports = {
  // An emulated processor is 10 to 30 times slower; a hang is still found.
  testTimeout: 120_000,
  projects: ['unit', 'addon', 'lab', 'vm', 'noiommu'].map(project),
};
