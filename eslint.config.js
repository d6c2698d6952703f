import tseslint from 'typescript-eslint';
import dory from './config/lint/dory-rules.js';

const pureStages = ['src/model/**/*.ts', 'src/plan/**/*.ts', 'src/render/**/*.ts', 'charts-ts/**/*.ts'];

export default tseslint.config(
  { ignores: ['dist/**', 'generated/**', 'charts-ts/imports/**', 'node_modules/**', '.dory/**'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { dory },
    rules: {
      'dory/direction': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // Functions within a screen, files within what one reads at a sitting.
      'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }],
      'max-lines': ['error', { max: 300, skipBlankLines: true, skipComments: true }],
      complexity: ['error', 15],
      'max-params': ['error', 5],
      // What `erasableSyntaxOnly` and `verbatimModuleSyntax` say, but for the constructs that cdk8s generates, which can't follow them.
      '@typescript-eslint/no-import-type-side-effects': 'error',
      'no-restricted-syntax': ['error', { selector: 'TSEnumDeclaration, TSModuleDeclaration[declare!=true], TSParameterProperty', message: 'Types only: this syntax leaves code behind that no reader wrote. Use a union, a module, a field.' }],
      eqeqeq: 'error',
      'no-console': 'error',
    },
  },
  { files: pureStages, ignores: ['charts-ts/main.ts'], plugins: { dory }, rules: { 'dory/pure': 'error' } },
  { files: ['src/**/*.ts', 'charts-ts/**/*.ts'], ignores: ['src/main.ts', 'charts-ts/main.ts'], plugins: { dory }, rules: { 'dory/settings-as-values': 'error' } },
  // A table of cases is long and flat; that is its virtue.
  { files: ['test/**/*.ts'], rules: { 'max-lines-per-function': 'off', '@typescript-eslint/no-non-null-assertion': 'off', complexity: 'off' } },
);
