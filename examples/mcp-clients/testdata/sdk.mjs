// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Goes the whole way with one of the TypeScript SDKs. Its lines on standard
// output tell the test what to do: "OPEN URL" as the person at the browser,
// "EXPIRE" the access token, which it awaits an answer to.
//
//	node sdk.mjs PACKAGE '{"server": …, "issuer": …, …}'
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

const [name, options] = [process.argv[2], JSON.parse(process.argv[3])];
const load = (module) => import(`${process.env.TSIDP_NPM_CLIENTS}/node_modules/${module}`);
const sdk = name === '@modelcontextprotocol/client'
  ? { ...(await load(`${name}/dist/index.mjs`)) }
  : { ...(await load(`${name}/dist/esm/client/index.js`)), ...(await load(`${name}/dist/esm/client/streamableHttp.js`)), ...(await load(`${name}/dist/esm/client/auth.js`)), ...(await load(`${name}/dist/esm/client/auth-extensions.js`)) };

// Where the browser comes back to.
let arrive;
const callback = createServer((req, res) => { res.end('done'); arrive(new URL(req.url, 'http://localhost').searchParams); });
await new Promise((ready) => callback.listen(0, '127.0.0.1', ready));
const redirectUrl = `http://127.0.0.1:${callback.address().port}/oauth/callback`;

/** A provider that keeps everything in memory. */
class Provider {
  kept = {};
  constructor() {
    if (options.client) this.kept.client = { issuer: options.issuer, ...options.client };
    this.clientMetadataUrl = options.document;
  }
  get redirectUrl() { return redirectUrl; }
  get clientMetadata() {
    return { client_name: 'agent', redirect_uris: [redirectUrl], grant_types: ['authorization_code', 'refresh_token'], token_endpoint_auth_method: 'none' };
  }
  state() { return 'the-state'; }
  clientInformation() { return this.kept.client; }
  saveClientInformation(client) { this.kept.client = client; }
  tokens() { return this.kept.tokens; }
  saveTokens(tokens) { this.kept.tokens = tokens; }
  saveCodeVerifier(verifier) { this.kept.verifier = verifier; }
  codeVerifier() { return this.kept.verifier; }
  saveDiscoveryState(state) { this.kept.discovery = state; }
  discoveryState() { return this.kept.discovery; }
  redirectToAuthorization(url) {
    this.back = new Promise((resolve) => { arrive = resolve; });
    console.log(`OPEN ${url}`);
  }
}

function newProvider() {
  const common = { clientId: options.client?.client_id, expectedIssuer: options.issuer, scope: options.scope };
  switch (options.machine) {
    case 'secret': return new sdk.ClientCredentialsProvider({ ...common, clientSecret: options.client.client_secret });
    case 'key': return new sdk.PrivateKeyJwtProvider({ ...common, privateKey: options.key, algorithm: 'ES256' });
    default: return new Provider();
  }
}
const provider = newProvider();

/** connect logs in when the SDK says so. */
async function connect() {
  for (;;) {
    const transport = new sdk.StreamableHTTPClientTransport(new URL(options.server), { authProvider: provider });
    const client = new sdk.Client({ name: 'test', version: '1.0.0' });
    try {
      await client.connect(transport);
      return { client, transport };
    } catch (error) {
      await finish(error, transport);
    }
  }
}

async function finish(error, transport) {
  if (!(error instanceof sdk.UnauthorizedError) && !(error.cause instanceof sdk.UnauthorizedError)) throw error;
  const params = await provider.back;
  if (params.get('state') !== 'the-state') throw new Error('the state is lost');
  if (name === '@modelcontextprotocol/client') await transport.finishAuth(params);
  else await transport.finishAuth(params.get('code'));
}

async function call(tool) {
  let { client, transport } = connection;
  try {
    console.log(`${tool}: ${(await client.callTool({ name: tool, arguments: {} })).content[0].text}`);
  } catch (error) {
    if (error.code === 403 && !options.machine) {
      // The first generation refreshes where it should log in, and gives up:
      // what is left to the program is to forget the tokens.
      provider.saveTokens(undefined);
      if (await sdk.auth(provider, { serverUrl: options.server, scope: options.scope }) !== 'REDIRECT') throw error;
      error = new sdk.UnauthorizedError();
    }
    await finish(error, transport);
    ({ client, transport } = connection = await connect());
    console.log(`${tool}: ${(await client.callTool({ name: tool, arguments: {} })).content[0].text}`);
  }
}

let connection = await connect();
await call('whoami');
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
console.log('EXPIRE');
await answers.next();
await call('whoami');
await call('write');
process.exit(0);
