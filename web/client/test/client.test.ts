// The client with real nodes: what it sees and does goes on when the node of its connection is killed.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { WebSocket } from "ws";

import { Client, type EventView, type News, NotDone, type Options, type Socket } from "../src/client.js";
import { Cluster, SERVERS, until } from "./cluster.js";

const cluster = new Cluster();
before(() => cluster.start());
after(() => cluster.end());

/** A client that remembers what it was told. */
class Desk {
  readonly news: News[] = [];
  readonly client: Client;
  /** Frames that left, in order. */
  readonly sent: string[] = [];
  /** Text frames with this in them are lost on their way to the client. */
  deafTo: string | undefined;

  constructor(user: string, more: Partial<Options> = {}) {
    const webSocket = (at: string): Socket => this.overhear(new WebSocket(at));
    this.client = new Client({ servers: SERVERS, user, password: user, patienceMs: 60_000, webSocket, ...more });
    this.client.listen((news) => this.news.push(news));
    this.client.start();
  }

  private overhear(socket: WebSocket): Socket {
    const send = socket.send.bind(socket);
    socket.send = (text: string) => {
      this.sent.push(text);
      send(text);
    };
    const emit = socket.emit.bind(socket);
    socket.emit = (event: string | symbol, ...rest: unknown[]) => {
      const isLost = event === "message" && this.deafTo && String(rest[0]).includes(this.deafTo);
      return isLost ? true : emit(event as never, ...(rest as never[]));
    };
    return socket as unknown as Socket;
  }

  connections(): Array<News & { is: "connected" }> {
    return this.news.filter((news) => news.is === "connected");
  }

  async connects(times: number): Promise<string> {
    await until(`${times} connections`, () => this.connections().length >= times);
    return this.connections()[times - 1]!.server;
  }

  indices(): number[] {
    return this.news.flatMap((news) => (news.is === "events" ? [news.events.index] : []));
  }

  states(of: string): string[] {
    const all = this.news.flatMap((news) => (news.is === "events" ? news.events.events : []));
    const states = all.filter((event): event is EventView & { event: "agent-state" } => event.event === "agent-state");
    return states.filter((event) => event.agent === of).map((event) => event.state);
  }
}

test("a wrong password ends the client, and a command that does not fit is not done", async () => {
  const wrong = new Desk("ana", { password: "x" });
  await until("it is over", () => wrong.news.some((news) => news.is === "over"));
  await assert.rejects(wrong.client.command({ do: "ready" }), NotDone);

  const ben = new Desk("ben");
  await ben.connects(1);
  const call = "0".repeat(16);
  await assert.rejects(ben.client.command({ do: "hold", call }), (error: NotDone) => error.error.code === "not-found");
  ben.client.stop();
});

test("a second desk of an agent ends the first, which does not come back", async () => {
  const first = new Desk("ben");
  await first.connects(1);
  const second = new Desk("ben");
  await second.connects(1);
  await until("it is over", () => first.news.some((news) => news.is === "over"));
  assert.deepEqual(first.news.at(-1), { is: "over", why: "signed-in-elsewhere" });
  second.client.stop();
});

test("desk and supervisor go on at another node, with each event once and each command done once", async () => {
  const ana = new Desk("ana");
  const sue = new Desk("sue");
  await Promise.all([ana.connects(1), sue.connects(1)]);
  await until("both know everything", () => ana.client.index !== undefined && sue.client.index !== undefined);
  assert.deepEqual(await ana.client.command({ do: "ready" }), { is: "done" });
  await until("the supervisor sees it", () => sue.states("ana").at(-1) === "ready");

  // The reply is lost with the node: the command is given again under its id, and was done already.
  const server = ana.connections()[0]!.server;
  const session = ana.connections()[0]!.welcome.session;
  ana.deafTo = '"lunch-1"';
  const lunch = ana.client.command({ do: "not-ready", reason: "lunch" }, "lunch-1");
  await until("it is done", () => sue.states("ana").at(-1) === "not-ready");
  cluster.kill(server);
  ana.deafTo = undefined;
  const other = await ana.connects(2);
  assert.notEqual(other, server);
  assert.deepEqual(await lunch, { is: "done" });
  const { welcome } = ana.connections()[1]!;
  assert.deepEqual([welcome.resumed, welcome.session], [true, session]);
  const given = ana.sent.filter((text) => text.includes('"lunch-1"'));
  assert.ok(given.length >= 2, "it was given again");
  assert.equal(new Set(given).size, 1, "and every time the same");

  // What happens now is seen by both; nobody was sent a second snapshot.
  assert.deepEqual(await ana.client.command({ do: "ready" }), { is: "done" });
  await until("the supervisor sees it", () => sue.states("ana").at(-1) === "ready");
  await until("the desk sees it", () => ana.states("ana").at(-1) === "ready");
  for (const desk of [ana, sue]) {
    const indices = desk.indices();
    assert.deepEqual(indices, [...new Set(indices)].sort((left, right) => left - right));
    assert.equal(desk.news.filter((news) => news.is === "snapshot").length, 1);
    assert.deepEqual(desk.states("ana").slice(-3), ["ready", "not-ready", "ready"]);
  }
  assert.deepEqual(await ana.client.command({ do: "sign-out" }), { is: "done" });
  await until("the desk is over", () => ana.news.some((news) => news.is === "over"));
  sue.client.stop();
});
