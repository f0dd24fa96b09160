// Asks the store itself, past bftap: what the page shows must be what stands there.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const PROGRAM = `
import json, sqlite3, sys
db = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True)
db.row_factory = sqlite3.Row
for line in sys.stdin:
    sql, values = json.loads(line)
    print(json.dumps([{key: str(row[key]) if isinstance(row[key], int) and abs(row[key]) > 2**53 else row[key] for key in row.keys()} for row in db.execute(sql, values)]), flush=True)
`;

export class Store {
  constructor(path) {
    this.child = spawn("python3", ["-c", PROGRAM, path], { stdio: ["pipe", "pipe", "inherit"] });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  /** Rows of a query; whole numbers with more digits than are exact as text. */
  async all(sql, ...values) {
    this.child.stdin.write(`${JSON.stringify([sql, values])}\n`);
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`the store does not answer: ${sql}`);
    return JSON.parse(value);
  }

  async one(sql, ...values) {
    return (await this.all(sql, ...values))[0];
  }

  close() {
    this.child.stdin.end();
  }
}
