// Makes src/protocol.ts from the schema of the WebSocket's frames, which the node's types make.
//
// Knows the part of JSON Schema that the schema uses, and fails on anything else. With --check it
// only fails when the file is not what the schema says.
import { readFileSync, writeFileSync } from "node:fs";

const here = (path) => new URL(path, import.meta.url);
const schema = JSON.parse(readFileSync(here("../../docs/cti-schema.json"), "utf8"));

const SCALARS = { string: "string", integer: "number", number: "number", boolean: "boolean", null: "null" };

function docs(node, indent) {
  if (!node.description) return "";
  const lines = node.description.split("\n").map((line) => `${indent} * ${line}`.trimEnd());
  return `${indent}/**\n${lines.join("\n")}\n${indent} */\n`;
}

function typeOf(node, indent = "") {
  if (node === true) return "unknown";
  if (node.$ref) {
    const name = node.$ref.split("/").pop();
    return node.properties ? `${name} & ${object(node, indent)}` : name;
  }
  if ("const" in node) return JSON.stringify(node.const);
  if (node.enum) return node.enum.map((value) => JSON.stringify(value)).join(" | ");
  const choices = node.oneOf ?? node.anyOf;
  if (choices) {
    const union = choices.map((choice) => typeOf(choice, indent)).join(" | ");
    return node.properties ? `(${union}) & ${object(node, indent)}` : union;
  }
  if (Array.isArray(node.type)) {
    return node.type.map((type) => typeOf({ ...node, type }, indent)).join(" | ");
  }
  if (node.type === "array") {
    if (node.prefixItems) return `[${node.prefixItems.map((item) => typeOf(item, indent)).join(", ")}]`;
    return `Array<${typeOf(node.items ?? true, indent)}>`;
  }
  if (node.type === "object") return object(node, indent);
  if (SCALARS[node.type]) return SCALARS[node.type];
  throw new Error(`the schema has something new: ${JSON.stringify(node)}`);
}

function object(node, indent) {
  if (!node.properties) return `Record<string, ${typeOf(node.additionalProperties ?? true, indent)}>`;
  const inner = `${indent}  `;
  const required = new Set(node.required ?? []);
  const fields = Object.entries(node.properties).map(([name, field]) => {
    const mark = required.has(name) ? "" : "?";
    return `${docs(field, inner)}${inner}${name}${mark}: ${typeOf(field, inner)};\n`;
  });
  return `{\n${fields.join("")}${indent}}`;
}

const types = Object.entries(schema.$defs).map(
  ([name, node]) => `${docs(node, "")}export type ${name} = ${typeOf(node)};\n`,
);
const text = `// Made by generate.mjs from docs/cti-schema.json: do not edit.\n\n${types.join("\n")}`;
const file = here("src/protocol.ts");
if (process.argv.includes("--check")) {
  if (readFileSync(file, "utf8") !== text) {
    console.error("src/protocol.ts is not what the schema says: npm run generate");
    process.exit(1);
  }
} else {
  writeFileSync(file, text);
}
