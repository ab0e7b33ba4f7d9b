// duckdb.mjs MODULES: runs the SQL of its standard input in DuckDB and prints the rows as JSON.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const { DuckDBInstance } = createRequire(`${process.argv[2]}/`)("@duckdb/node-api");
const connection = await (await DuckDBInstance.create(":memory:")).connect();
const rows = (await connection.runAndReadAll(readFileSync(0, "utf8"))).getRows();
console.log(JSON.stringify(rows, (_, v) => (typeof v === "bigint" ? Number(v) : v)));
