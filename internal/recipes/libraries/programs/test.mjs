// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// How a program talks with its test: it gets the printed settings, has links
// opened in a browser, and tells what the application has learned.
import { createInterface } from 'node:readline';

const settings = JSON.parse(process.env.SETTINGS);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** The value of a setting. */
export function get(name) {
  const values = settings[name];
  if (values?.length !== 1) throw new Error(`${name} is ${JSON.stringify(values)}`);
  return values[0];
}

/** Where the application is opened, and which redirect URI it uses. */
export const { ADDRESS: address, REDIRECT: redirect } = process.env;

/** Opens a link in the browser; returns where it was sent. */
export async function browse(link) {
  console.log(JSON.stringify({ browse: String(link) }));
  return (await lines.next()).value;
}

/** Ends the program with what it has learned. */
export function done(learned) {
  console.log(JSON.stringify({ done: learned }));
  process.exit(0);
}
