// duckdb_run.mjs FOLDER -- run the SQL statements on standard input, a JSON array, with the DuckDB that is installed in
// FOLDER; write the rows of each as arrays of JSON values.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const require = createRequire(pathToFileURL(process.argv[2] + '/package.json'));
const { DuckDBInstance } = require('@duckdb/node-api');
const connection = await (await DuckDBInstance.create(':memory:')).connect();
const results = [];
for (const sql of JSON.parse(readFileSync(0, 'utf8'))) {
  const reader = await connection.runAndReadAll(sql);
  results.push(reader.getRowsJson());
}
process.stdout.write(JSON.stringify(results));
