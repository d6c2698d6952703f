import { describeSeeds } from './seeds.ts';

describeSeeds(401, 800);
