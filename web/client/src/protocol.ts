// Made by generate.mjs from docs/cti-schema.json: do not edit.

/**
 * One agent.
 */
export type Agent = {
  /**
   * The call that the state is about.
   */
  call?: string | null;
  /**
   * Calls taken.
   */
  calls: number;
  /**
   * The name to log in with.
   */
  id: string;
  /**
   * The call that was last with this agent; its disposition can still be given.
   */
  last_call?: string | null;
  /**
   * The name for people.
   */
  name: string;
  /**
   * The queues served.
   */
  queues: Array<string>;
  /**
   * Why, when logged out or not ready.
   */
  reason?: string | null;
  /**
   * What the person may do.
   */
  role: Role;
  /**
   * Whether a desk is signed in.
   */
  signed_in: boolean;
  /**
   * Since when.
   */
  since: number;
  /**
   * Free for what.
   */
  state: State;
  /**
   * When the state ends by itself: of a wrap-up, and of some that are not ready.
   */
  until?: number | null;
};

/**
 * An alarm, for people and programs.
 */
export type Alarm = {
  /**
   * The node that it is about, where it is another one than the one that says so.
   */
  about?: number | null;
  /**
   * What to do.
   */
  action: string;
  /**
   * What is the matter, in words.
   */
  detail: string;
  /**
   * Of this alarm alone, from its beginning to its end: who hears of it twice can tell.
   */
  id: string;
  /**
   * The kind.
   */
  name: string;
  /**
   * The node that says so.
   */
  node: number;
  /**
   * How soon somebody has to look.
   */
  severity: Severity;
  /**
   * Since when, in Unix milliseconds of that node's clock.
   */
  since: number;
};

/**
 * An alarm is over.
 */
export type AlarmCleared = {
  /**
   * The alarm's id.
   */
  id: string;
};

/**
 * Who began a call.
 */
export type CallDirection = "inbound" | "outbound";

/**
 * One call.
 */
export type CallView = {
  /**
   * The agent who talks or talked last.
   */
  agent?: string | null;
  /**
   * When it was answered.
   */
  answered?: number | null;
  /**
   * When it began.
   */
  arrived: number;
  /**
   * What was dialled.
   */
  called: string;
  /**
   * Who calls.
   */
  caller: Caller;
  /**
   * Who is asked by one of them meanwhile.
   */
  consultation?: ConsultationView | null;
  /**
   * Who began it.
   */
  direction: CallDirection;
  /**
   * How long it is expected to wait from now on, in milliseconds, where that can be said.
   */
  expected_wait_ms?: number | null;
  /**
   * Its id.
   */
  id: string;
  /**
   * Its parties.
   */
  legs: Array<LegView>;
  /**
   * The agents who are asked to take it: several where a queue rings all at once.
   */
  offered_to?: Array<string>;
  /**
   * The node that drives it.
   */
  owner: number;
  /**
   * The legs of those who talk.
   */
  parties?: Array<number>;
  /**
   * What it is doing.
   */
  phase: Phase;
  /**
   * Its place in the queue, from 1.
   */
  position?: number | null;
  /**
   * Served first when higher.
   */
  priority: number;
  /**
   * The queue that it is or was in last.
   */
  queue?: string | null;
  /**
   * The recording.
   */
  recording?: string | null;
  /**
   * Whether an agent has interrupted the recording.
   */
  recording_paused?: boolean;
  /**
   * The slot in which it is parked.
   */
  slot?: number | null;
  /**
   * The supervisor in it; for supervisors.
   */
  supervision?: SupervisionView | null;
  /**
   * What the IVR collected and looked up.
   */
  variables: Record<string, string>;
};

/**
 * Somebody outside.
 */
export type Caller = {
  /**
   * The name that came with it.
   */
  name?: string | null;
  /**
   * The number, empty or `anonymous` when hidden.
   */
  number: string;
};

/**
 * What a client sends.
 */
export type ClientFrame = {
  /**
   * The last index whose events were seen: those behind it follow. Without it, or when it is
   * too long ago, a snapshot comes first.
   */
  resume_from?: number | null;
  /**
   * The session of an earlier connection, to take it up again: the agent's state stays.
   */
  session?: string | null;
  /**
   * Whether the agent signs in at this desk. Without it agents do, and those with another
   * role only watch.
   */
  sign_in?: boolean | null;
  /**
   * The token of the log-in, unless the upgrade request had it in `Authorization`.
   */
  token?: string | null;
  type: "hello";
  /**
   * The version of this protocol: 1.
   */
  version: number;
} | {
  /**
   * The last index that the client knew of when it gave the command: of a reply, of events, a
   * snapshot or a pong. A node that was frozen or cut off may read the command much later, when
   * it has been repeated elsewhere, and 64 others after it: that the first is done already is
   * forgotten by then, and only this tells that it is late. Repeated unchanged.
   */
  after?: number | null;
  /**
   * What to do.
   */
  command: Do;
  /**
   * Different for each command of an agent, 1 to 64 bytes; a random UUID is good. A command
   * that is repeated under the same id, here or at another node, is not done again and
   * receives the first result.
   */
  id: string;
  type: "command";
} | {
  type: "ping";
};

/**
 * Why the node ends a connection.
 */
export type CloseReason = "signed-out" | "signed-in-elsewhere" | "connection-lost" | "reconfigured" | "forced-out" | "going-away" | "too-slow" | "silent" | "too-many-errors" | "refused";

/**
 * Why the connection ends.
 */
export type Closing = {
  /**
   * Why.
   */
  why: CloseReason;
};

/**
 * One who is asked during a conversation.
 */
export type ConsultationView = {
  /**
   * Whether who is asked has answered.
   */
  answered: boolean;
  /**
   * Whether who asks is aside; else they are with the others, and who is asked waits.
   */
  aside: boolean;
  /**
   * The leg of who asks.
   */
  by: number;
  /**
   * The leg of who is asked, if there is one yet.
   */
  with?: number | null;
};

/**
 * What a client can ask for.
 */
export type Do = {
  /**
   * Another agent; for supervisors.
   */
  agent?: string | null;
  do: "ready";
} | {
  /**
   * Another agent; for supervisors.
   */
  agent?: string | null;
  do: "not-ready";
  /**
   * A code of the snapshot's `reasons`, or anything if it lists none.
   */
  reason: string;
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "accept";
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "decline";
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "hold";
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "retrieve";
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "hang-up";
} | {
  do: "dial";
  /**
   * The number.
   */
  to: string;
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "consult";
  /**
   * The number.
   */
  to: string;
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "alternate";
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "reconnect";
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "conference";
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "transfer";
  /**
   * The number; without it: the one who was asked.
   */
  to?: string | null;
} | {
  /**
   * The call's id.
   */
  call: string;
  /**
   * A code of the queue's dispositions, or anything if it lists none.
   */
  disposition: string;
  do: "dispose";
  /**
   * In one's own words.
   */
  note?: string | null;
} | {
  do: "end-wrap-up";
} | {
  /**
   * Another agent; for supervisors.
   */
  agent?: string | null;
  do: "sign-out";
} | {
  /**
   * The agent's name.
   */
  agent: string;
  do: "supervise";
  /**
   * Who hears the supervisor.
   */
  mode: SupervisionMode;
} | {
  /**
   * The agent's name.
   */
  agent: string;
  do: "take-over";
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "prioritise";
  /**
   * Higher is served first; without it: as high as it takes to be the first who waits.
   */
  priority?: number | null;
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "move-to-queue";
  /**
   * The queue's id.
   */
  queue: string;
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "mute";
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "unmute";
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "send-keys";
  /**
   * `0`–`9`, `*`, `#`, `A`–`D`, at most 32.
   */
  keys: string;
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "pause-recording";
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "resume-recording";
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "deflect";
  /**
   * The number.
   */
  to: string;
} | {
  /**
   * The call's id.
   */
  call: string;
  do: "park";
} | {
  do: "pick-up";
  /**
   * 1 to 99.
   */
  slot: number;
};

/**
 * An error, as it stands in JSON.
 */
export type ErrorBody = {
  /**
   * What went wrong, for programs.
   */
  code: ErrorCode;
  /**
   * What went wrong, for people.
   */
  message: string;
  /**
   * The state that was needed.
   */
  needed?: string | null;
  /**
   * The state that was in the way.
   */
  state?: string | null;
};

/**
 * What went wrong, for programs.
 */
export type ErrorCode = "bad-request" | "unknown-frame" | "unknown-command" | "wrong-version" | "too-large" | "not-logged-in" | "wrong-password" | "locked" | "wrong-role" | "not-signed-in" | "not-found" | "not-your-call" | "wrong-state" | "wrong-phase" | "not-allowed" | "cannot-dial" | "conflict" | "bad-configuration" | "unavailable" | "unknown" | "internal";

/**
 * Something was not done.
 */
export type ErrorFrame = {
  /**
   * What was wrong.
   */
  error: ErrorBody;
  /**
   * The client's id of the command, if it could be read.
   */
  id?: string | null;
};

/**
 * Something that happened.
 */
export type EventView = {
  /**
   * Whose.
   */
  agent: string;
  /**
   * The call that the state is about.
   */
  call?: string | null;
  event: "agent-state";
  /**
   * Why, when logged out or not ready.
   */
  reason?: string | null;
  /**
   * Since when.
   */
  since: number;
  /**
   * Free for what.
   */
  state: State;
  /**
   * When the state ends by itself.
   */
  until?: number | null;
} | {
  /**
   * Who is asked.
   */
  agent: string;
  /**
   * The phone rings: lifting it accepts, the desk cannot.
   */
  at_phone: boolean;
  /**
   * What to show.
   */
  call: ScreenPop;
  event: "offered";
  /**
   * When it goes on to somebody else.
   */
  until: number;
} | {
  /**
   * Who was asked.
   */
  agent: string;
  /**
   * The call.
   */
  call: string;
  event: "offer-ended";
  /**
   * Why.
   */
  why: OfferEnded;
} | {
  /**
   * Who.
   */
  agent: string;
  /**
   * What to show.
   */
  call: ScreenPop;
  event: "dialing";
} | {
  /**
   * Who dials.
   */
  agent: string;
  /**
   * The call.
   */
  call: string;
  event: "delivered";
} | {
  /**
   * Who.
   */
  agent: string;
  /**
   * What to show.
   */
  call: ScreenPop;
  event: "established";
  /**
   * The recording that began.
   */
  recording?: string | null;
} | {
  /**
   * The agent in the call.
   */
  agent: string;
  /**
   * Who holds.
   */
  by: Party;
  /**
   * The call.
   */
  call: string;
  event: "held";
} | {
  /**
   * The agent in the call.
   */
  agent: string;
  /**
   * Whose hold it was.
   */
  by: Party;
  /**
   * The call.
   */
  call: string;
  event: "retrieved";
} | {
  /**
   * Who asks.
   */
  agent: string;
  /**
   * The call.
   */
  call: string;
  event: "consulting";
  /**
   * Whom.
   */
  to: string;
} | {
  /**
   * Who asks.
   */
  agent: string;
  /**
   * The call.
   */
  call: string;
  event: "consultation-answered";
} | {
  /**
   * Who asked.
   */
  agent: string;
  /**
   * The call.
   */
  call: string;
  /**
   * Why.
   */
  cause: Reason;
  event: "consultation-ended";
} | {
  /**
   * Who.
   */
  agent: string;
  /**
   * With the one who was asked.
   */
  aside: boolean;
  /**
   * The call.
   */
  call: string;
  event: "alternated";
} | {
  /**
   * An agent who is in it.
   */
  agent: string;
  /**
   * The call.
   */
  call: string;
  event: "conferenced";
  /**
   * How many are in it now.
   */
  parties: number;
} | {
  /**
   * Who.
   */
  agent: string;
  /**
   * The call.
   */
  call: string;
  event: "transferred";
  /**
   * The number; without it: to the one who was asked.
   */
  to?: string | null;
} | {
  /**
   * Who was in it.
   */
  agent: string;
  /**
   * Who ended it.
   */
  by: Party;
  /**
   * The call.
   */
  call: string;
  /**
   * Why.
   */
  cause: Reason;
  event: "cleared";
  /**
   * Until when the wrap-up lasts.
   */
  wrap_up_until?: number | null;
} | {
  /**
   * Who.
   */
  agent: string;
  /**
   * Which call.
   */
  call: string;
  /**
   * The code.
   */
  disposition: string;
  event: "disposed";
} | {
  /**
   * Who.
   */
  agent: string;
  event: "signed-in";
} | {
  /**
   * Whose.
   */
  agent: string;
  event: "session-ended";
  /**
   * Why.
   */
  why: SessionEnded;
} | {
  /**
   * What to show.
   */
  call: ScreenPop;
  event: "call-began";
} | {
  /**
   * Callers who are served before it.
   */
  ahead: number;
  /**
   * The call.
   */
  call: string;
  event: "call-queued";
  /**
   * The queue.
   */
  queue: string;
} | {
  /**
   * The call.
   */
  call: string;
  event: "call-taken-over";
  /**
   * The node that was lost.
   */
  from: number;
  /**
   * The node that drives it now.
   */
  to: number;
} | {
  /**
   * Who ended it.
   */
  by: Party;
  /**
   * The call.
   */
  call: string;
  /**
   * Why.
   */
  cause: Reason;
  event: "call-ended";
  /**
   * What it came to.
   */
  outcome: Outcome;
} | {
  event: "queue-changed";
  /**
   * Since when the first of them waits.
   */
  first_since?: number | null;
  /**
   * Which.
   */
  queue: string;
  /**
   * Agents whom it could offer a call.
   */
  ready: number;
  /**
   * Callers in it.
   */
  waiting: number;
} | {
  event: "node-changed";
  /**
   * Which.
   */
  node: number;
  /**
   * Whether it is up.
   */
  up: boolean;
} | {
  event: "reconfigured";
} | {
  /**
   * Who supervises.
   */
  agent: string;
  /**
   * What to show.
   */
  call: ScreenPop;
  event: "supervising";
  /**
   * Who hears the supervisor.
   */
  mode: SupervisionMode;
  /**
   * Whose conversation.
   */
  of: string;
} | {
  /**
   * Who.
   */
  agent: string;
  /**
   * The call.
   */
  call: string;
  event: "muted";
  /**
   * Whether they are not heard.
   */
  muted: boolean;
} | {
  /**
   * Who asked for it.
   */
  agent: string;
  /**
   * The call.
   */
  call: string;
  event: "recording-paused";
  /**
   * Whether it is interrupted.
   */
  paused: boolean;
} | {
  /**
   * Who.
   */
  agent: string;
  /**
   * The call.
   */
  call: string;
  event: "parked";
  /**
   * Where.
   */
  slot: number;
} | {
  /**
   * Whose.
   */
  agent: string;
  /**
   * Who did.
   */
  by: string;
  event: "state-forced";
};

/**
 * What happened at an index.
 */
export type Events = {
  /**
   * The leader's clock then.
   */
  at: number;
  /**
   * What happened, in order.
   */
  events: Array<EventView>;
  /**
   * The index: where to resume from after having seen this.
   */
  index: number;
};

/**
 * How far one party of a call is.
 */
export type LegPhase = "arriving" | "answering" | "dialing" | "ringing" | "answered" | "refusing" | "ending" | "ended";

/**
 * Whose leg it is.
 */
export type LegRole = "caller" | "agent" | "trunk" | "target";

/**
 * One party of a call.
 */
export type LegView = {
  /**
   * Whether its phone holds.
   */
  held: boolean;
  /**
   * Whether its agent is heard by nobody.
   */
  muted?: boolean;
  /**
   * Its number in the call.
   */
  number: number;
  /**
   * Whose it is.
   */
  role: LegRole;
  /**
   * How far it is.
   */
  state: LegPhase;
  /**
   * What was invited; empty for the caller.
   */
  target: string;
};

/**
 * Why an offer is over without a conversation.
 */
export type OfferEnded = "no-answer" | "declined" | "phone-refused" | "signed-out" | "reconfigured" | "caller-left" | "call-ended" | "taken-by-another" | "deflected";

/**
 * What a call came to.
 */
export type Outcome = "answered" | "abandoned" | "rejected" | "busy" | "no-answer" | "ivr-completed" | "waited-too-long" | "queue-full" | "failed";

/**
 * One side of a call.
 */
export type Party = "caller" | "agent" | "called" | "system";

/**
 * What a call is doing.
 */
export type Phase = "arriving" | "ivr" | "queued" | "offered" | "dialing" | "bridged" | "consulting" | "conference" | "echo" | "ended" | "parked";

/**
 * A sign of life.
 */
export type Pong = {
  /**
   * Everything up to here has been sent.
   */
  index: number;
};

/**
 * One queue.
 */
export type QueueView = {
  /**
   * Of them, given up by the caller.
   */
  abandoned: number;
  /**
   * Of them, answered by an agent.
   */
  answered: number;
  /**
   * How long those who were answered waited on average, in milliseconds.
   */
  answered_wait_ms: number;
  /**
   * Of them, those who are not set not ready: ready, in a call or in wrap-up.
   */
  available: number;
  /**
   * What an agent can say of the outcome of a call: code and name. Empty: anything.
   */
  dispositions: Record<string, string>;
  /**
   * Calls that entered since it was configured.
   */
  entered: number;
  /**
   * How long a caller who enters now behind all others is expected to wait, in milliseconds,
   * where that can be said.
   */
  expected_wait_ms?: number | null;
  /**
   * Since when the first of them waits.
   */
  first_since?: number | null;
  /**
   * Its id.
   */
  id: string;
  /**
   * The name for people.
   */
  name: string;
  /**
   * Of them, sent on or let go.
   */
  overflowed: number;
  /**
   * Agents whom it could offer a call.
   */
  ready: number;
  /**
   * Agents who serve it and are signed in.
   */
  signed_in: number;
  /**
   * Callers in it.
   */
  waiting: number;
};

/**
 * Why a leg or a call ended.
 */
export type Reason = "hung-up" | "cancelled" | "refused" | "no-answer" | "lost" | "peer-gone" | "withdrawn" | "flow-ended" | "waited-too-long" | "reconfigured" | "failed" | "transferred";

/**
 * A command was done.
 */
export type ReplyFrame = {
  /**
   * The client's id of the command.
   */
  id: string;
  /**
   * The index at which it was done, or was found to be done. Its events may come before or
   * after this.
   */
  index: number;
  /**
   * The result.
   */
  result: ResultView;
};

/**
 * What a command did.
 */
export type ResultView = {
  is: "done";
} | {
  is: "already";
} | {
  /**
   * The call's id.
   */
  call: string;
  is: "dialing";
} | {
  is: "signed-in";
} | {
  is: "afterwards";
} | {
  is: "parked";
  /**
   * 1 to 99.
   */
  slot: number;
};

/**
 * What a person may do. Each role may also do what those before it may.
 */
export type Role = "agent" | "supervisor" | "administrator";

/**
 * What a screen shows of a call that rings or is connected.
 */
export type ScreenPop = {
  /**
   * When it began.
   */
  arrived: number;
  /**
   * What was dialled.
   */
  called: string;
  /**
   * Who calls.
   */
  caller: Caller;
  /**
   * Who began it.
   */
  direction: CallDirection;
  /**
   * The call.
   */
  id: string;
  /**
   * Its priority.
   */
  priority: number;
  /**
   * The queue that it came through.
   */
  queue?: string | null;
  /**
   * The queue's name for people.
   */
  queue_name?: string | null;
  /**
   * What the IVR collected and looked up.
   */
  variables: Record<string, string>;
  /**
   * Milliseconds in queues so far.
   */
  wait_ms: number;
};

/**
 * What a client receives.
 */
export type ServerFrame = Welcome & {
  type: "welcome";
} | Snapshot & {
  type: "snapshot";
} | Events & {
  type: "events";
} | ReplyFrame & {
  type: "reply";
} | ErrorFrame & {
  type: "error";
} | Pong & {
  type: "pong";
} | Alarm & {
  type: "alarm-raised";
} | AlarmCleared & {
  type: "alarm-cleared";
} | Closing & {
  type: "closing";
};

/**
 * Why a session ended.
 */
export type SessionEnded = "signed-out" | "signed-in-elsewhere" | "connection-lost" | "reconfigured" | "forced-out";

/**
 * How soon somebody has to look.
 */
export type Severity = "ticket" | "page";

/**
 * Everything that a client sees, as of an index.
 */
export type Snapshot = {
  /**
   * Agents: oneself, or for supervisors everybody.
   */
  agents: Array<Agent>;
  /**
   * The leader's clock then.
   */
  at: number;
  /**
   * Calls: one's own, or for supervisors all of them.
   */
  calls: Array<CallView>;
  /**
   * The index.
   */
  index: number;
  /**
   * Queues: those that one serves, or for supervisors all of them.
   */
  queues: Array<QueueView>;
  /**
   * Why an agent can be not ready: code and name. Empty: anything.
   */
  reasons: Record<string, string>;
};

/**
 * What an agent is free for.
 */
export type State = "logged-out" | "not-ready" | "ready" | "reserved" | "ringing" | "talking" | "held" | "wrap-up";

/**
 * Who hears a supervisor, who hears everybody in the agent's conversation.
 */
export type SupervisionMode = "listen" | "whisper" | "barge";

/**
 * A supervisor in an agent's conversation.
 */
export type SupervisionView = {
  /**
   * Who.
   */
  by: string;
  /**
   * The leg of the supervisor's phone.
   */
  leg: number;
  /**
   * Who hears the supervisor.
   */
  mode: SupervisionMode;
  /**
   * Of whom.
   */
  of: string;
};

/**
 * The answer to hello.
 */
export type Welcome = {
  /**
   * Who logged in.
   */
  agent: string;
  /**
   * How long the session waits for the client when the connection is lost.
   */
  grace_seconds: number;
  /**
   * The node that serves this connection.
   */
  node: number;
  /**
   * Whether the session is the one that hello named.
   */
  resumed: boolean;
  /**
   * Every node's address, to go on at another one.
   */
  servers: Array<string>;
  /**
   * The session, to be given when connecting again; a secret of the client.
   */
  session?: string | null;
  /**
   * The version of the protocol.
   */
  version: number;
};
