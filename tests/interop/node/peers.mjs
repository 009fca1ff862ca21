// Majordomo 0.1 peers written from RFC 7 with the npm package zeromq: node peers.mjs ROLE ENDPOINT [SERVICE] [COUNT]
import * as zmq from "zeromq"

const [role, endpoint, service = "echo", count = "3"] = process.argv.slice(2)
const CLIENT = "MDPC01", WORKER = "MDPW01"
const READY = Buffer.from([1]), REPLY = Buffer.from([3]), HEARTBEAT = Buffer.from([4]), DISCONNECT = Buffer.from([5])
const number = Number(count)

async function req() {
  const socket = new zmq.Request({receiveTimeout: 20000})
  socket.connect(endpoint)
  for (let i = 0; i < number; i++) {
    await socket.send([CLIENT, service, "hello", String(i)])
    const [header, name, ...body] = await socket.receive()
    console.log([header, name, ...body].map(String).join(" "))
  }
  socket.close()
}

async function dealer() {
  const socket = new zmq.Dealer({receiveTimeout: 20000})
  socket.connect(endpoint)
  for (let i = 0; i < number; i++) await socket.send(["", CLIENT, service, "hello", String(i)])
  const seen = []
  for (let i = 0; i < number; i++) {
    const [, header, name, ...body] = await socket.receive()
    seen.push([header, name, ...body].map(String).join(" "))
  }
  console.log(seen.sort().join("\n"))
  socket.close()
}

async function worker() {
  const socket = new zmq.Dealer({receiveTimeout: 500})
  socket.connect(endpoint)
  await socket.send(["", WORKER, READY, service])
  for (let answered = 0; answered < number; ) {
    let frames
    try {
      frames = await socket.receive()
    } catch {
      await socket.send(["", WORKER, HEARTBEAT])
      continue
    }
    const [, , command, address, empty, ...body] = frames
    if (command[0] === 2) {
      await socket.send(["", WORKER, REPLY, address, empty, "node", ...body])
      answered++
    }
  }
  await socket.send(["", WORKER, DISCONNECT])
  socket.close()
  console.log("done")
}

// A broker for one service and one worker at a time: enough to be a stranger to our clients and workers.
async function broker() {
  const socket = new zmq.Router()
  await socket.bind("tcp://127.0.0.1:*")
  console.log(socket.lastEndpoint)
  const idle = [], waiting = []
  for await (const [peer, , header, ...rest] of socket) {
    if (String(header) === CLIENT) {
      const [name, ...body] = rest
      if (String(name) === "mmi.service") await socket.send([peer, "", CLIENT, name, String(body[0]) === service ? "200" : "404"])
      else if (String(name).startsWith("mmi.")) await socket.send([peer, "", CLIENT, name, "501"])
      else waiting.push([peer, body])
    } else {
      const [command, address, , ...body] = rest
      if (command[0] === 1) idle.push(peer)
      if (command[0] === 3) {
        idle.push(peer)
        await socket.send([address, "", CLIENT, service, ...body])
      }
      if (command[0] === 4) await socket.send([peer, "", WORKER, HEARTBEAT])
    }
    while (idle.length && waiting.length) {
      const [client, body] = waiting.shift()
      await socket.send([idle.shift(), "", WORKER, Buffer.from([2]), client, "", ...body])
    }
  }
}

await {req, dealer, worker, broker}[role]()
