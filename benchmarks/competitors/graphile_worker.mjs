// graphile-worker with its local queue of 500 and batched completion, as its performance page configures it.
// Usage: node graphile_worker.mjs DATABASE_URL JOBS PAYLOAD; prints {"seconds": …}.
import { Logger, makeWorkerUtils, run } from "graphile-worker";

const [connectionString, jobs, payload] = process.argv.slice(2);
const total = Number(jobs);
const logger = new Logger(() => () => {});

const utils = await makeWorkerUtils({ connectionString, logger });
await utils.migrate();
for (let from = 0; from < total; from += 5000) {
  const specs = Array.from({ length: Math.min(5000, total - from) }, () => ({
    identifier: "noop",
    payload: JSON.parse(payload),
  }));
  await utils.addJobs(specs);
}

let done = 0;
let finish;
const finished = new Promise((resolve) => (finish = resolve));
const start = performance.now();
const runner = await run({
  preset: {
    worker: {
      connectionString,
      logger,
      concurrentJobs: 24,
      maxPoolSize: 25,
      pollInterval: 2000,
      localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
  noHandleSignals: true,
  taskList: {
    noop: () => {
      done += 1;
      if (done === total) finish();
    },
  },
});
await finished;
await runner.stop(); // waits until the completions are written
console.log(JSON.stringify({ seconds: (performance.now() - start) / 1000 }));
await utils.release();
