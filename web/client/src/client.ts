// A desk, or a supervisor's screen, of a cluster: one connection that survives its node.
//
// Owns the connection, the place in the log (`index`) and the commands that are under way. It logs in,
// connects to any of its servers, resumes behind the last index that it saw, and gives each command
// again under its own id until there is an answer, so that it is done once. It keeps no model of the
// call centre: whoever listens gets snapshots and events in order, none twice and none left out.

import type {
  Alarm, AlarmCleared, ClientFrame, CloseReason, Do, ErrorBody, Events, ReplyFrame, ResultView,
  ServerFrame, Snapshot, Welcome,
} from "./protocol.js";

export type * from "./protocol.js";

/** Commands under way. The cluster remembers the results of an agent's last 64: more are refused here. */
export const COMMANDS_MAX = 64;

/** The first and the longest pause between two tries, in milliseconds; half of each is random. */
const PAUSE_MS = 200;
const PAUSE_MAX_MS = 5_000;

/** The node says something every 4 s. Three times nothing: it is gone. */
const SILENCE_MS = 13_000;

/** How long a server may take to answer a log-in, to open the connection and to say welcome. */
const CONNECT_MS = 4_000;

/** What the client needs of a WebSocket: what browsers have, and the package `ws`. */
export interface Socket {
  send(text: string): void;
  close(): void;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
}

export interface Options {
  /** HTTP addresses of nodes: `host:port`, or a URL. The cluster's others are learnt. */
  servers: string[];
  user: string;
  password: string;
  /** Whether the agent signs in at this desk. Without it agents do, and other roles watch. */
  signIn?: boolean;
  /** How long a command may be under way before it fails as `unknown`, in milliseconds: 30,000. */
  patienceMs?: number;
  /** Opens a WebSocket; without it the one of the browser. */
  webSocket?: (url: string) => Socket;
}

/** What whoever listens is told. */
export type News =
  | { is: "connected"; server: string; welcome: Welcome }
  | { is: "disconnected"; why: string }
  /** Everything as of an index: replaces what was known. */
  | { is: "snapshot"; snapshot: Snapshot }
  | { is: "events"; events: Events }
  | { is: "alarm-raised"; alarm: Alarm }
  | { is: "alarm-cleared"; alarm: AlarmCleared }
  /** The client does not connect again: the desk signed out or in elsewhere, or it may not be there. */
  | { is: "over"; why: string };

/** A command, or a log-in, was not done. */
export class NotDone extends Error {
  constructor(readonly error: ErrorBody) {
    super(error.message);
    this.name = "NotDone";
  }
}

interface UnderWay {
  frame: ClientFrame & { type: "command" };
  until: number;
  done: (result: ResultView) => void;
  failed: (error: NotDone) => void;
}

/** A closing behind which nobody is to connect again. */
const FINAL: readonly CloseReason[] = [
  "signed-in-elsewhere", "signed-out", "reconfigured", "forced-out", "too-many-errors",
];

export class Client {
  /** The last index whose events were told. */
  index: number | undefined;
  private readonly servers: string[];
  private readonly listeners = new Set<(news: News) => void>();
  private readonly underWay = new Map<string, UnderWay>();
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();
  private token: string | undefined;
  private session: string | undefined;
  private socket: Socket | undefined;
  private isWelcome = false;
  private isOver = false;
  /** Which server is tried next, and how many tries in a row came to nothing. */
  private next = 0;
  private tries = 0;
  private silence: ReturnType<typeof setTimeout> | undefined;
  private refusal: ErrorBody | undefined;

  constructor(private readonly options: Options) {
    if (options.servers.length === 0) throw new RangeError("there is no server");
    this.servers = options.servers.map(url);
    this.next = Math.floor(Math.random() * this.servers.length);
  }

  /** Tells what happens from now on. Answers how to stop that. */
  listen(listener: (news: News) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Connects, and stays connected. */
  start(): void {
    if (!this.isOver) void this.connect();
  }

  /** Leaves. The session waits for its grace; `{ do: "sign-out" }` before this ends it at once. */
  stop(): void {
    this.end("stopped");
  }

  /** Does something, once, however often connections are lost meanwhile. */
  command(command: Do, id: string = newId()): Promise<ResultView> {
    if (this.isOver || this.underWay.size >= COMMANDS_MAX || this.underWay.has(id)) {
      const message = this.isOver ? "the client has ended" : "too many commands are under way, or this one is";
      return Promise.reject(new NotDone({ code: "unavailable", message }));
    }
    const after = this.index === undefined ? {} : { after: this.index };
    const patience = this.options.patienceMs ?? 30_000;
    return new Promise((done, failed) => {
      const frame = { type: "command" as const, id, command, ...after };
      this.underWay.set(id, { frame, until: Date.now() + patience, done, failed });
      if (this.isWelcome) this.send(frame);
      this.later(patience, () => {
        const message = "no answer came in time; it may have been done";
        this.fail(id, { code: "unknown", message });
      });
    });
  }

  private async connect(): Promise<void> {
    const server = this.servers[this.next % this.servers.length]!;
    try {
      this.token ??= await this.logIn(server);
    } catch (error) {
      const isRefused = error instanceof NotDone && error.error.code === "wrong-password";
      return isRefused ? this.end(error.message) : this.again();
    }
    if (this.isOver) return;
    const open = this.options.webSocket ?? ((at: string) => new WebSocket(at) as unknown as Socket);
    const socket = open(server.replace(/^http/, "ws") + "/cti");
    this.socket = socket;
    this.hears(socket, CONNECT_MS);
    socket.onopen = () => this.hello();
    socket.onmessage = ({ data }: { data: unknown }) => {
      if (socket !== this.socket) return;
      this.hears(socket, SILENCE_MS);
      this.receive(server, JSON.parse(String(data)) as ServerFrame);
    };
    socket.onerror = () => undefined; // A close follows.
    socket.onclose = () => this.lost(socket, "the connection is lost");
  }

  private async logIn(server: string): Promise<string> {
    const { user, password } = this.options;
    const answer = await fetch(server + "/api/v1/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user, password }),
      signal: AbortSignal.timeout(CONNECT_MS),
    });
    const body = await answer.json();
    if (!answer.ok) throw new NotDone(body as ErrorBody);
    return (body as { token: string }).token;
  }

  private hello(): void {
    this.refusal = undefined;
    const { token, session, index } = this;
    this.send({
      type: "hello",
      version: 1,
      ...(token === undefined ? {} : { token }),
      ...(session === undefined ? {} : { session }),
      ...(index === undefined ? {} : { resume_from: index }),
      ...(this.options.signIn === undefined ? {} : { sign_in: this.options.signIn }),
    });
  }

  private receive(server: string, frame: ServerFrame): void {
    switch (frame.type) {
      case "welcome":
        this.welcome(server, frame);
        break;
      case "snapshot":
        this.index = frame.index;
        this.tell({ is: "snapshot", snapshot: frame });
        break;
      case "events":
        // All events of an index are in one frame, so what is known is known whole.
        if (this.index !== undefined && frame.index <= this.index) break;
        this.index = frame.index;
        this.tell({ is: "events", events: frame });
        break;
      case "pong":
        this.index = Math.max(this.index ?? 0, frame.index);
        break;
      case "reply":
        this.succeed(frame);
        break;
      case "error":
        if (frame.id == null) this.refusal = frame.error;
        else if (["unavailable", "unknown"].includes(frame.error.code)) this.giveAgain(frame.id);
        else this.fail(frame.id, frame.error);
        break;
      case "alarm-raised":
        this.tell({ is: "alarm-raised", alarm: frame });
        break;
      case "alarm-cleared":
        this.tell({ is: "alarm-cleared", alarm: frame });
        break;
      case "closing":
        this.closing(frame.why);
        break;
    }
  }

  private welcome(server: string, welcome: Welcome): void {
    this.session = welcome.session ?? undefined;
    this.tries = 0;
    this.isWelcome = true;
    for (const known of welcome.servers.map(url)) {
      if (!this.servers.includes(known)) this.servers.push(known);
    }
    this.tell({ is: "connected", server, welcome });
    // In the order in which they were given, each as it was: what is done already is not done again.
    for (const { frame } of this.underWay.values()) this.send(frame);
  }

  private closing(why: CloseReason): void {
    if (FINAL.includes(why)) return this.end(why);
    if (why === "refused") {
      const code = this.refusal?.code;
      if (code === "wrong-version" || code === "wrong-role" || code === "bad-request") {
        return this.end(this.refusal?.message ?? why);
      }
      // The token is too old: log in again.
      if (code === "not-logged-in") this.token = undefined;
    }
    if (this.socket) this.lost(this.socket, why);
  }

  private succeed(reply: ReplyFrame): void {
    const command = this.underWay.get(reply.id);
    this.underWay.delete(reply.id);
    command?.done(reply.result);
  }

  private fail(id: string, error: ErrorBody): void {
    const command = this.underWay.get(id);
    this.underWay.delete(id);
    command?.failed(new NotDone(error));
  }

  /** Nobody leads, or nobody knows whether it was done: the same again a moment later. */
  private giveAgain(id: string): void {
    this.later(pause(0), () => {
      const command = this.underWay.get(id);
      if (command && this.isWelcome) this.send(command.frame);
    });
  }

  private lost(socket: Socket, why: string): void {
    if (socket !== this.socket) return;
    this.disconnect();
    this.tell({ is: "disconnected", why });
    this.again();
  }

  /** Tries the next server, later each time and partly at random: all clients of a node come at once. */
  private again(): void {
    if (this.isOver) return;
    this.next += 1;
    this.later(pause(this.tries), () => void this.connect());
    this.tries += 1;
  }

  private end(why: string): void {
    if (this.isOver) return;
    this.isOver = true;
    this.disconnect();
    this.timers.forEach(clearTimeout);
    this.timers.clear();
    for (const id of [...this.underWay.keys()]) {
      this.fail(id, { code: "unknown", message: `the client has ended: ${why}` });
    }
    this.tell({ is: "over", why });
  }

  private disconnect(): void {
    clearTimeout(this.silence);
    const socket = this.socket;
    this.socket = undefined;
    this.isWelcome = false;
    socket?.close();
  }

  private hears(socket: Socket, within: number): void {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lost(socket, "nothing is heard"), within);
  }

  private send(frame: ClientFrame): void {
    this.socket?.send(JSON.stringify(frame));
  }

  private later(ms: number, then: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      then();
    }, ms);
    this.timers.add(timer);
  }

  private tell(news: News): void {
    for (const listener of [...this.listeners]) listener(news);
  }
}

/** 16 random bytes. Not `randomUUID`, which browsers have on pages of HTTPS only. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function url(server: string): string {
  return (server.includes("://") ? server : `http://${server}`).replace(/\/$/, "");
}

function pause(tries: number): number {
  const whole = Math.min(PAUSE_MAX_MS, PAUSE_MS * 2 ** tries);
  return whole / 2 + Math.random() * (whole / 2);
}
