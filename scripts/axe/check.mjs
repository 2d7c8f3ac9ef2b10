// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Opens the pages of a development server in a browser, light and dark, wide
// and narrow, and prints what axe-core finds. With a directory it also keeps
// pictures there.
//
//	node check.mjs CHROMIUM ISSUER [DIRECTORY]

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import puppeteer from "puppeteer-core";

const [chromium, issuer, pictures] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"],
});
const page = await browser.newPage();
let looked = 0, violations = 0;

// look checks the page that is open.
async function look(name) {
  await page.evaluate(() => document.querySelectorAll("details").forEach(d => { d.open = true; }));
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  looked++;
  for (const v of found.violations) {
    violations++;
    console.log(`${name}: ${v.id}: ${v.help}`);
    for (const n of v.nodes.slice(0, 3)) console.log(`    ${n.html.slice(0, 200)}\n    ${(n.failureSummary ?? "").split("\n").slice(1, 3).join(" ")}`);
  }
  if (pictures) await page.screenshot({ path: `${pictures}/${name.replace(/[^a-z0-9]+/gi, "-")}.png`, fullPage: true });
}

async function call(path, body) {
  const res = await fetch(issuer + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (!res.ok) throw new Error(`${path}: ${res.status} ${await res.text()}`);
  return res.json();
}

// submit presses a button and waits for the page that comes.
async function submit(selector) {
  await page.evaluate(() => document.querySelectorAll("details").forEach(d => { d.open = true; }));
  await Promise.all([page.waitForNavigation(), page.evaluate(s => document.querySelector(s).click(), selector)]);
}

try {
  await call("/api/v1/clients", { client_name: "Wiki", redirect_uris: ["http://wiki.example.com/cb"], client_uri: "https://wiki.example.com/" });
  const agent = await call("/register", { client_name: "Agent", redirect_uris: ["http://127.0.0.1/callback"], token_endpoint_auth_method: "none" });
  await page.goto(issuer + "/dev");
  await submit('form[action="/dev/login"] button'); // a session, and events
  const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
  const query = `client_id=${agent.client_id}&response_type=code&redirect_uri=${encodeURIComponent("http://127.0.0.1/callback")}&code_challenge=${challenge}&code_challenge_method=S256`;
  await page.goto(`${issuer}/authorize?${query}`);
  await page.evaluate(() => document.querySelector('button[value="yes"]').click()); // a consent; nobody is there to take the code
  await fetch(`${issuer}/admin/keys`, { headers: { "Tsidp-Dev-User": "bob@example.com" } }); // a refusal
  for (let n = 0; n < 100; n++) { // the audit log is written once in a second
    if ((await (await fetch(`${issuer}/api/v1/audit?result=refused`)).json()).events.length > 0) break;
    await new Promise(done => setTimeout(done, 100));
  }

  const pages = [
    "/", "/me", "/admin/clients", "/admin/clients?q=nothing", "/admin/clients/demo", `/admin/clients/${agent.client_id}`, "/admin/new", "/admin/new?recipe=grafana",
    "/admin/new?recipe=blank", "/admin/sessions", "/admin/sessions?client=demo", "/admin/consents", "/admin/registrations", "/admin/policy",
    "/admin/policy?ask=1&user=bob%40example.com&resources=https%3A%2F%2Fmcp.example.com%2F", "/admin/policy?check=1",
    "/admin/policy?build=1&src=bob%40example.com&dst=tag%3Atsidp&allow_admin_ui=true", "/admin/policy?build=1", "/admin/audit", "/admin/audit?since=x", "/admin/keys", "/admin/clients/nobody",
  ];
  for (const scheme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    for (const width of [1280, 360]) {
      await page.setViewport({ width, height: 900 });
      for (const path of pages) {
        await page.goto(issuer + path);
        await look(`${path} ${scheme} ${width}`);
      }
      await page.goto(issuer + "/admin/new?recipe=grafana");
      await page.type("#v-url", "grafana");
      await submit("main form button");
      await look(`mistake in a recipe ${scheme} ${width}`);
    }
  }
  await page.setViewport({ width: 1280, height: 900 });
  for (const scheme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.goto(issuer + "/admin/new?recipe=grafana");
    await page.type("#v-url", "https://grafana.example.com");
    await submit("main form button");
    await look(`created ${scheme}`);
    await page.goto(issuer + "/admin/clients/demo");
    await page.evaluate(() => { document.querySelector("#f-redirect_uris").value = "javascript:x"; });
    await submit('button[value="save"]');
    await look(`mistake ${scheme}`);
    const other = await browser.newPage();
    await page.goto(issuer + "/admin/clients/demo");
    await other.goto(issuer + "/admin/clients/demo");
    await other.evaluate(s => { document.querySelector("#f-client_name").value = "Demo " + s; }, scheme);
    await Promise.all([other.waitForNavigation(), other.evaluate(() => document.querySelector('button[value="save"]').click())]);
    await other.close();
    await page.evaluate(() => { document.querySelector("#f-client_name").value = "Mine"; });
    await submit('button[value="save"]');
    await look(`conflict ${scheme}`);
  }
  // Those who are no administrators.
  for (const user of ["bob@example.com", "tag:ci"]) {
    await page.setExtraHTTPHeaders({ "Tsidp-Dev-User": user });
    for (const path of ["/", "/admin/clients"]) {
      await page.goto(issuer + path);
      await look(`${path} as ${user}`);
    }
  }
} finally {
  await browser.close();
}
console.log(`${looked} pages looked at, ${violations} violations`);
if (violations > 0 || looked < 90) process.exit(1);
