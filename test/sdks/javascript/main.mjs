// This program is a typical application with the AWS SDK for JavaScript: it uses the SDK's
// default credential chain. It prints its identity, or writes an object and reads it back.
// The tests parse its output.
//
//   main.mjs version
//   main.mjs whoami
//   main.mjs store ENDPOINT BUCKET KEY CONTENT
import { createRequire } from "node:module";
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";

async function whoami() {
  const identity = await new STSClient({}).send(new GetCallerIdentityCommand({}));
  return { arn: identity.Arn };
}

async function store(endpoint, Bucket, Key, Body) {
  const client = new S3Client({ endpoint, forcePathStyle: true });
  await client.send(new PutObjectCommand({ Bucket, Key, Body }));
  const object = await client.send(new GetObjectCommand({ Bucket, Key }));
  return { content: await object.Body.transformToString() };
}

function version() {
  const { version } = createRequire(import.meta.url)("@aws-sdk/client-sts/package.json");
  return { version };
}

// The type of an exception is its class. Its code is the service's error code.
function describe(error) {
  return { type: error.constructor.name, code: error.Code ?? error.name, message: error.message };
}

const [action, ...args] = process.argv.slice(2);
try {
  console.log(JSON.stringify(await { version, whoami, store }[action](...args)));
} catch (error) {
  console.log(JSON.stringify({ error: describe(error) }));
}
