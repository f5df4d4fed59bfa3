// Three nodes of the shipped cluster configuration, each with a folder of its own. TANDEM names the
// program. Processes are started here and ended by their id.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));

export const SERVERS = ["127.0.0.11:8080", "127.0.0.12:8080", "127.0.0.13:8080"];

export class Cluster {
  private readonly folder = mkdtempSync(join(tmpdir(), "tandem-client-"));
  private readonly nodes: ChildProcess[] = [];

  async start(): Promise<void> {
    const program = process.env["TANDEM"];
    if (!program) throw new Error("TANDEM is to name the program of a node");
    for (const node of [1, 2, 3]) {
      const config = join(ROOT, `config/cluster/node${node}.toml`);
      const data = join(this.folder, `node${node}`);
      const words = ["run", "--config", config, "--data", data];
      this.nodes.push(spawn(program, words, { stdio: "ignore" }));
    }
    await until("all nodes are ready", async () => {
      const answers = await Promise.allSettled(SERVERS.map((at) => fetch(`http://${at}/readyz`)));
      return answers.every((answer) => answer.status === "fulfilled" && answer.value.ok);
    });
  }

  /** Kills the node with this HTTP address. */
  kill(server: string): void {
    const node = SERVERS.findIndex((at) => server.endsWith(at));
    this.nodes[node]!.kill("SIGKILL");
  }

  end(): void {
    this.nodes.forEach((node) => node.kill("SIGKILL"));
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Waits until it is so, a minute at most. */
export async function until(what: string, is: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await is())) {
    if (Date.now() > deadline) throw new Error(`not within a minute: ${what}`);
    await new Promise((then) => setTimeout(then, 20));
  }
}
