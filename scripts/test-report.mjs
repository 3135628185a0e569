// Tells from a JSON report of vitest which tests failed and why, and in its last line how many passed and failed.
// In a long log, what comes last is read first.
import { readFileSync } from "node:fs";
import { relative } from "node:path";

const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(process.argv[2], "utf8"));

for (const { name, status, message, assertionResults } of testResults) {
  const file = relative(process.cwd(), name);
  const failed = assertionResults.filter(({ status }) => status === "failed");
  // A file that could not be loaded, or prepared, has no test that failed.
  if (status === "failed" && failed.length === 0) console.log(`\n${file}: could not begin\n${message}`);
  for (const { fullName, failureMessages, duration } of failed)
    console.log(
      `\n${file}: ${fullName} (${Math.round(duration ?? 0)} ms)\n${failureMessages.join("\n").slice(0, 4000)}`,
    );
}
console.log(`${numPassedTests} passed, ${numFailedTests} failed`);
