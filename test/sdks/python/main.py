"""A typical application with the AWS SDK for Python.

It uses the SDK's default credential chain. It prints its identity, or writes an object
and reads it back. The tests parse its output.

    main.py version
    main.py whoami
    main.py store ENDPOINT BUCKET KEY CONTENT
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError


def version():
    return {"version": boto3.__version__}


def whoami():
    return {"arn": boto3.client("sts").get_caller_identity()["Arn"]}


def store(endpoint, bucket, key, content):
    s3 = boto3.client("s3", endpoint_url=endpoint, config=Config(s3={"addressing_style": "path"}))
    s3.put_object(Bucket=bucket, Key=key, Body=content.encode())
    return {"content": s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()}


def main(action, *args):
    actions = {"version": version, "whoami": whoami, "store": store}
    try:
        answer = actions[action](*args)
    except ClientError as error:
        described = {"type": type(error).__name__, "code": error.response["Error"]["Code"], "message": str(error)}
        answer = {"error": described}
    except BotoCoreError as error:  # none of a service's
        answer = {"error": {"type": type(error).__name__, "message": str(error)}}
    print(json.dumps(answer))


main(*sys.argv[1:])
