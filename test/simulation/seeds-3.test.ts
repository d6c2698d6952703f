import { describeSeeds } from './seeds.ts';

describeSeeds(1, 200, { cutover: true });
