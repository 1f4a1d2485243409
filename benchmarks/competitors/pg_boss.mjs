// pg-boss: fetch of 500 and completion of all of them in one call each, by two loops.
// Usage: node pg_boss.mjs DATABASE_URL JOBS PAYLOAD; prints {"seconds": …}.
import PgBoss from "pg-boss";

const [connectionString, jobs, payload] = process.argv.slice(2);
const total = Number(jobs);
const batchSize = 500;

const boss = new PgBoss({ connectionString, supervise: false, schedule: false });
boss.on("error", (error) => console.error(error));
await boss.start();
await boss.createQueue("noop");
for (let from = 0; from < total; from += 5000) {
  const specs = Array.from({ length: Math.min(5000, total - from) }, () => ({ name: "noop", data: JSON.parse(payload) }));
  await boss.insert(specs);
}

const start = performance.now();
async function loop() {
  for (;;) {
    const found = await boss.fetch("noop", { batchSize });
    if (!found.length) return;
    await boss.complete("noop", found.map((job) => job.id));
  }
}
await Promise.all([loop(), loop()]);
console.log(JSON.stringify({ seconds: (performance.now() - start) / 1000 }));
await boss.stop({ graceful: false });
