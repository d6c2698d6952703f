import { userInfo } from 'node:os';

/** Who runs this program. In a container the account often has a number and no name, and then asking for it is an error. */
export function accountName(): string {
  try {
    return userInfo().username;
  } catch {
    return 'an account without a name';
  }
}
