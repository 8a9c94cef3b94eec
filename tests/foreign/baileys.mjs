// One Baileys client driven by JSON lines. Nothing of Baileys is changed: the two settings are its URL (an option) and
// the root key its certificate check starts from (an exported constant object).
//
// in:  {"id":1,"do":"start","url":"ws://..","root":"<hex>","auth":"<dir>","code":"<number>"?}  and the verbs below
// out: {"re":1,"ok":true,..} | {"re":1,"ok":false,"error":".."}  for each line in, and {"ev":"..",..} for what happens
import { createInterface } from 'node:readline'
import { readFile } from 'node:fs/promises'

// libsignal prints session dumps with console.log: they go where they disturb nobody.
const write = process.stdout.write.bind(process.stdout)
for (const name of ['log', 'info', 'warn', 'debug', 'trace', 'dir']) console[name] = (...args) => console.error(...args)
const emit = object => write(JSON.stringify(object) + '\n')

const { default: makeWASocket, useMultiFileAuthState, downloadMediaMessage, DisconnectReason, proto } =
  await import('baileys')
const { WA_CERT_DETAILS } = await import('./node_modules/baileys/lib/Defaults/index.js')
const { default: pino } = await import('pino')

const logger = pino({ level: process.env.BAILEYS_LOG ?? 'silent' }, pino.destination(2))
const sent = new Map()
const seen = new Map()
let sock, settings, closing = false

const plain = message => {
  const m = message.message ?? {}
  const text = m.conversation ?? m.extendedTextMessage?.text ?? m.imageMessage?.caption ?? ''
  const kind = Object.keys(m).find(k => k !== 'messageContextInfo' && k !== 'senderKeyDistributionMessage')
  return {
    id: message.key.id, chat: message.key.remoteJid, chatAlt: message.key.remoteJidAlt, fromMe: !!message.key.fromMe,
    participant: message.key.participant, participantAlt: message.key.participantAlt, name: message.pushName, kind, text,
    mentions: m.extendedTextMessage?.contextInfo?.mentionedJid, stub: message.messageStubType,
    reaction: m.reactionMessage && { emoji: m.reactionMessage.text, target: m.reactionMessage.key?.id },
  }
}

async function connect() {
  const { state, saveCreds } = await useMultiFileAuthState(settings.auth)
  sock = makeWASocket({
    waWebSocketUrl: settings.url,
    auth: state,
    logger,
    markOnlineOnConnect: true,
    getMessage: async key => sent.get(key.id),
  })
  const mine = sock
  let asked = false
  sock.ev.on('creds.update', saveCreds)
  sock.ev.on('connection.update', async update => {
    if (mine !== sock) return
    if (update.qr && settings.code && !asked) {
      asked = true
      try {
        emit({ ev: 'code', code: await sock.requestPairingCode(settings.code) })
      } catch (error) {
        emit({ ev: 'error', error: String(error) })
      }
    } else if (update.qr && !settings.code) emit({ ev: 'qr', qr: update.qr })
    if (update.isNewLogin) emit({ ev: 'linked' })
    if (update.connection === 'open') emit({ ev: 'open', id: sock.user.id, lid: sock.user.lid })
    if (update.connection === 'close') {
      const code = update.lastDisconnect?.error?.output?.statusCode
      emit({ ev: 'close', code, error: String(update.lastDisconnect?.error ?? '') })
      if (!closing && (code === DisconnectReason.restartRequired || code === DisconnectReason.connectionClosed)) connect()
    }
  })
  sock.ev.on('messages.upsert', ({ messages, type }) => {
    for (const message of messages) {
      seen.set(message.key.id, message)
      emit({ ev: 'message', type, ...plain(message) })
      if (message.status !== undefined && message.key.fromMe)
        emit({ ev: 'status', id: message.key.id, status: message.status })
    }
  })
  sock.ev.on('messages.update', updates => {
    for (const { key, update } of updates)
      if (update.status !== undefined) emit({ ev: 'status', id: key.id, chat: key.remoteJid, status: update.status })
  })
  sock.ev.on('message-receipt.update', updates => {
    for (const { key, receipt } of updates)
      emit({ ev: 'receipt', id: key.id, chat: key.remoteJid, by: receipt.userJid,
        delivered: !!receipt.receiptTimestamp, read: !!receipt.readTimestamp })
  })
  sock.ev.on('groups.upsert', groups => {
    for (const group of groups) emit({ ev: 'group', id: group.id, subject: group.subject, size: group.participants.length })
  })
  sock.ev.on('groups.update', updates => updates.forEach(update => emit({ ev: 'group-update', ...update })))
  sock.ev.on('group-participants.update', ({ id, participants, action }) =>
    emit({ ev: 'members', id, action, who: participants.map(p => p.id ?? p) }))
  sock.ev.on('presence.update', ({ id, presences }) => emit({ ev: 'presence', id, presences }))
}

async function send(to, content, options) {
  const message = await sock.sendMessage(to, content, options)
  sent.set(message.key.id, message.message)
  seen.set(message.key.id, message)
  return { id: message.key.id }
}

const message = id => {
  const found = seen.get(id)
  if (!found) throw new Error(`no message ${id} was seen here`)
  return found
}

const verbs = {
  async start(options) {
    settings = options
    WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(options.root, 'hex')
    await connect()
  },
  text: ({ to, text, mentions, quote }) =>
    send(to, { text, mentions }, quote ? { quoted: message(quote) } : undefined),
  image: async ({ to, file, caption }) => send(to, { image: await readFile(file), caption, jpegThumbnail: '' }),
  react: ({ to, target, emoji }) => send(to, { react: { text: emoji, key: message(target).key } }),
  read: ({ target }) => sock.readMessages([message(target).key]),
  typing: ({ to, on }) => sock.sendPresenceUpdate(on === false ? 'paused' : 'composing', to),
  subscribe: ({ to }) => sock.presenceSubscribe(to),
  async download({ target }) {
    const bytes = await downloadMediaMessage(message(target), 'buffer', {}, { logger, reuploadRequest: sock.updateMediaMessage })
    return { base64: bytes.toString('base64') }
  },
  async create({ subject, members }) {
    const group = await sock.groupCreate(subject, members)
    return { group: group.id, size: group.participants.length }
  },
  async group({ group }) {
    const { id, subject, participants, addressingMode } = await sock.groupMetadata(group)
    return { id, subject, addressingMode, participants }
  },
  /** Any other method of the socket. */
  call: async ({ method, args }) => ({ result: await sock[method](...args) }),
  members: async ({ group, who, what }) => ({ result: await sock.groupParticipantsUpdate(group, who, what) }),
  subject: ({ group, subject }) => sock.groupUpdateSubject(group, subject),
  async logout() {
    closing = true
    await sock.logout()
  },
  async stop() {
    closing = true
    await sock?.end(undefined)
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, do: verb, ...rest } = JSON.parse(line)
  Promise.resolve()
    .then(() => verbs[verb](rest))
    .then(result => emit({ re: id, ok: true, ...(result && !Array.isArray(result) ? result : {}) }))
    .catch(error => emit({ re: id, ok: false, error: String(error?.stack ?? error) }))
    .finally(() => verb === 'stop' && process.exit(0))
}
process.exit(0)
