"""Speaks as the Northbound or the Floodlight of the proof of concept does: see seed-programs.test.ts."""

import faulthandler
import json
import os
import queue
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

BROKERS = os.environ["KAFKA_BROKERS"]
text = {"key_serializer": str.encode, "value_serializer": str.encode}
texts = {"key_deserializer": bytes.decode, "value_deserializer": bytes.decode}
producer = KafkaProducer(bootstrap_servers=BROKERS, **text)


def listen(group, topic):
    """A consumer that hears what comes from now on."""
    # Now and then the client does not come into its group: then the program says where it hangs, and ends.
    faulthandler.dump_traceback_later(25, exit=True)
    sessions = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 2000}
    consumer = KafkaConsumer(
        bootstrap_servers=BROKERS, group_id=group, auto_offset_reset="latest", **texts, **sessions
    )
    consumer.subscribe([topic])
    while not consumer.assignment():
        consumer.poll(timeout_ms=100)
    for partition in consumer.assignment():
        consumer.position(partition)
    faulthandler.cancel_dump_traceback_later()
    return consumer


def floodlight():
    consumer = listen("fl", "worker-to-fl")
    print("ready: floodlight", flush=True)
    words = {"install": "installed", "validate": "validated"}
    for message in consumer:
        command = json.loads(message.value)
        if command["error"] != "IN_FL":
            # What it does not know, it answers with an empty word.
            answer = f"{words.get(command['command'], '')} {command['ruleid']}"
            producer.send("fl-to-worker", key=message.key, value=answer)


waiting = {}


class Flow(BaseHTTPRequestHandler):
    def do_POST(self):
        key = uuid.uuid4().hex
        waiting[key] = queue.Queue()
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        producer.send("nb-to-hub", key=key, value=json.dumps(body))
        try:
            answer = waiting[key].get(timeout=30)
        except queue.Empty:
            answer = '{"error":"client operation timeout"}'
        del waiting[key]
        self.send_response(200)
        self.send_header("request-id", key)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        pass


def northbound():
    consumer = listen("nb", "hub-to-nb")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Flow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"ready: northbound http://127.0.0.1:{server.server_port}", flush=True)
    while True:
        # One answer at a time, and only of the first partition.
        polled = consumer.poll(timeout_ms=100, max_records=1)
        if polled:
            message = polled[TopicPartition("hub-to-nb", 0)][0]
            if message.key in waiting:
                waiting[message.key].put(message.value)
        time.sleep(0.1)


{"northbound": northbound, "floodlight": floodlight}[sys.argv[1]]()
