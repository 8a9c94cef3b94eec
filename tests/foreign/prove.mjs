// The proof: unchanged Baileys clients against the simulator binary, and (with VERSO) against a Verso account.
// Run by run.sh. Prints one line per step with its time; exit code 0 only if every step held.
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { mkdtemp, writeFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const patience = 30_000
const work = await mkdtemp(join(tmpdir(), 'verso-foreign-'))
const children = []
const failed = []

/** A child process that speaks JSON lines, and waits for the ones that match. */
class Lines {
  constructor(name, command, args, options = {}) {
    this.name = name
    this.lines = []
    this.waiting = new Set()
    this.next = 1
    this.stderr = ''
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options })
    children.push(this)
    this.child.stderr.on('data', data => { this.stderr = (this.stderr + data).slice(-4000) })
    createInterface({ input: this.child.stdout }).on('line', line => {
      let parsed
      try { parsed = JSON.parse(line) } catch { parsed = { line } }
      if (process.env.TRACE) console.error(`[${name}]`, line.slice(0, 500))
      this.lines.push({ parsed, taken: false })
      for (const check of [...this.waiting]) check()
    })
    this.ended = new Promise(resolve => this.child.on('exit', code => { this.exit = code; resolve(code)
      for (const check of [...this.waiting]) check() }))
  }

  /** The first line that fits and was not taken before; it counts as taken unless `keep`. */
  expect(what, fits, { keep = false } = {}) {
    return new Promise((resolve, reject) => {
      const give = () => {
        clearTimeout(timer)
        this.waiting.delete(check)
      }
      const check = () => {
        const hit = this.lines.find(({ parsed, taken }) => (keep || !taken) && fits(parsed))
        if (hit) {
          hit.taken ||= !keep
          give()
          resolve(hit.parsed)
        } else if (this.exit !== undefined) {
          give()
          reject(new Error(`${this.name} ended with ${this.exit} before ${what}\n${this.stderr}`))
        }
      }
      const timer = setTimeout(() => {
        give()
        const last = this.lines.slice(-12).map(({ parsed }) => JSON.stringify(parsed).slice(0, 300)).join('\n  ')
        reject(new Error(`${this.name}: no ${what} within ${patience / 1000} s; its last lines:\n  ${last}`))
      }, patience)
      this.waiting.add(check)
      check()
    })
  }

  event(ev, fits = () => true) {
    return this.expect(`event ${ev}`, line => line.ev === ev && fits(line))
  }

  async ask(verb, parameters = {}) {
    const id = this.next++
    this.child.stdin.write(JSON.stringify({ id, do: verb, ...parameters }) + '\n')
    const answer = await this.expect(`answer to ${verb}`, line => line.re === id)
    if (!answer.ok) throw new Error(`${this.name} ${verb}: ${answer.error}`)
    return answer
  }
}

async function step(name, run) {
  const start = performance.now()
  try {
    const result = await run()
    console.log(`ok    ${((performance.now() - start) / 1000).toFixed(2).padStart(6)} s  ${name}`)
    return result
  } catch (error) {
    failed.push(name)
    console.log(`FAILED ${((performance.now() - start) / 1000).toFixed(2).padStart(5)} s  ${name}\n${error.stack}`)
    throw error
  }
}

function same(actual, expected, what) {
  const [a, e] = [JSON.stringify(actual), JSON.stringify(expected)]
  if (a !== e) throw new Error(`${what}: expected ${e}, got ${a}`)
}

// --- the simulator ---------------------------------------------------------------------------------------------------
const simulator = new Lines('simulator', process.env.WA_SIMULATOR, process.env.WA_SIMULATOR_ARGS?.split(' ') ?? [])
const world = await simulator.expect('its addresses', line => line.ws)
const cert = join(work, 'media-root.pem')
await writeFile(cert, world.media_cert)

async function ctl(name, body = {}) {
  const response = await fetch(`${world.control}/ctl/${name}`, { method: 'POST', body: JSON.stringify(body) })
  const answer = await response.json()
  if (!response.ok) throw new Error(`${name}: ${answer.error}`)
  return answer
}

function baileys(name) {
  const client = new Lines(name, process.execPath, [join(here, 'baileys.mjs')],
    { env: { ...process.env, NODE_EXTRA_CA_CERTS: cert } })
  client.start = (more = {}) => client.ask('start', { url: world.ws, root: world.root, auth: join(work, name), ...more })
  return client
}

/** Waits until a message is delivered (3) or read (4); in groups Baileys reports each reader. */
const status = (client, id, atLeast) => client.expect(`status ${atLeast} of ${id}`,
  line => (line.ev === 'status' && line.id === id && line.status >= atLeast) ||
    (line.ev === 'receipt' && line.id === id && (atLeast < 4 || line.read)), { keep: true })

// A 1x1 PNG.
const picture = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==', 'base64')
const file = join(work, 'picture.png')
await writeFile(file, picture)

const [annPn, bobPn, catPn] = ['15550100001', '15550100002', '15550100003']
let ann, bob, cat, annJid, bobJid, annLid, bobLid

async function link() {
  ann = baileys('ann')
  bob = baileys('bob')
  await step('Baileys links by QR code', async () => {
    await ann.start()
    const { qr } = await ann.event('qr')
    await ctl('scan', { pn: annPn, qr })
    const open = await ann.event('open')
    annJid = `${annPn}@s.whatsapp.net`
    annLid = open.lid.replace(/:\d+@/, '@')
    same(open.id.replace(/:\d+@/, '@'), annJid, 'own JID')
  })
  await step('Baileys links by 8-character code', async () => {
    await bob.start({ code: bobPn })
    const { code } = await bob.event('code')
    await ctl('code', { pn: bobPn, code })
    const open = await bob.event('open')
    bobJid = `${bobPn}@s.whatsapp.net`
    bobLid = open.lid.replace(/:\d+@/, '@')
  })
}

async function withContact() {
  cat = await ctl('contact', { pn: catPn, name: 'Cat', auto_read: true })
  await step('a simulated contact writes, Baileys reads', async () => {
    const { id } = await ctl('send', { from: catPn, to: annPn, text: 'hello Ann' })
    const got = await ann.event('message', m => m.id === id)
    same([got.text, got.name], ['hello Ann', 'Cat'], 'text and name')
    await ctl('expect', { pn: catPn, receipt: id, kind: 'delivered' })
    await ann.ask('read', { target: id })
    await ctl('expect', { pn: catPn, receipt: id, kind: 'read' })
    await ann.ask('react', { to: got.chat, target: id, emoji: '👍' })
    const reaction = await ctl('expect', { pn: catPn, reaction: id })
    same(reaction.emoji, '👍', 'emoji')
  })
  await step('Baileys writes, the contact reads', async () => {
    const { id } = await ann.ask('text', { to: `${catPn}@s.whatsapp.net`, text: 'hello Cat' })
    const got = await ctl('expect', { pn: catPn, text: 'hello Cat' })
    same([got.id, got.from], [id, `+${annPn}`], 'id and sender')
    await status(ann, id, 3)
    await status(ann, id, 4)
    await ctl('react', { from: catPn, to: annPn, id, emoji: '🎉' })
    const reaction = await ann.event('message', m => m.reaction?.target === id)
    same(reaction.reaction.emoji, '🎉', 'emoji')
  })
  await step('an image from the contact, an image to the contact', async () => {
    const { id } = await ctl('send', { from: catPn, to: annPn, image: picture.toString('base64'), caption: 'for Ann', mime: 'image/png' })
    const got = await ann.event('message', m => m.id === id)
    same([got.kind, got.text], ['imageMessage', 'for Ann'], 'kind and caption')
    same((await ann.ask('download', { target: id })).base64, picture.toString('base64'), 'bytes')
    const back = await ann.ask('image', { to: got.chat, file, caption: 'for Cat' })
    const seen = await ctl('expect', { pn: catPn, media: back.id })
    same([seen.media, seen.text, seen.base64], ['image', 'for Cat', picture.toString('base64')], 'what the contact sees')
  })
}

async function everyKind() {
  await step('video, voice note, document and sticker from the contact', async () => {
    for (const kind of ['video', 'audio', 'document', 'sticker']) {
      const bytes = Buffer.alloc(70_000, kind).toString('base64')
      const { id } = await ctl('send', { from: catPn, to: annPn, [kind]: bytes, file_name: 'a.pdf', voice: true })
      const got = await ann.event('message', m => m.id === id)
      same(got.kind, `${kind}Message`, 'kind')
      same((await ann.ask('download', { target: id })).base64, bytes, `bytes of the ${kind}`)
    }
  })
  await step('a 7 MiB image to the contact', async () => {
    const large = join(work, 'large.bin')
    await writeFile(large, Buffer.alloc(7 * 1024 * 1024, 'large'))
    const { id } = await ann.ask('image', { to: `${catPn}@s.whatsapp.net`, file: large })
    const seen = await ctl('expect', { pn: catPn, media: id })
    same(Buffer.from(seen.base64, 'base64').equals(Buffer.alloc(7 * 1024 * 1024, 'large')), true, 'bytes')
  })
}

async function betweenTwo() {
  let dm
  await step('a direct message between two Baileys clients, with receipts', async () => {
    dm = (await ann.ask('text', { to: bobJid, text: 'hello Bob' })).id
    const got = await bob.event('message', m => m.id === dm)
    same(got.text, 'hello Bob', 'text')
    await status(ann, dm, 3)
    await bob.ask('read', { target: dm })
    await status(ann, dm, 4)
    const { id } = await bob.ask('text', { to: got.chat, text: 'hello back', quote: dm })
    same((await ann.event('message', m => m.id === id)).text, 'hello back', 'answer')
  })
  await step('a reaction between two Baileys clients', async () => {
    await bob.ask('react', { to: annJid, target: dm, emoji: '❤️' })
    same((await ann.event('message', m => m.reaction?.target === dm)).reaction.emoji, '❤️', 'emoji')
  })
  await step('an image between two Baileys clients', async () => {
    const { id } = await ann.ask('image', { to: bobJid, file, caption: 'look' })
    same((await bob.event('message', m => m.id === id)).text, 'look', 'caption')
    same((await bob.ask('download', { target: id })).base64, picture.toString('base64'), 'bytes')
  })
  await step('typing is seen', async () => {
    await ann.ask('subscribe', { to: bobJid })
    await bob.ask('typing', { to: annJid })
    await ann.event('presence', p => Object.values(p.presences).some(x => x.lastKnownPresence === 'composing'))
  })
}

async function inGroup() {
  let group
  await step('Baileys makes a group; everybody sees it', async () => {
    const made = await ann.ask('create', { subject: 'Lunch', members: [bobJid, `${catPn}@s.whatsapp.net`] })
    group = made.group
    same(made.size, 3, 'members')
    same((await bob.event('group', g => g.id === group)).subject, 'Lunch', 'subject')
    same((await bob.ask('group', { group })).participants.length, 3, 'members Bob sees')
  })
  await step('group text goes both ways, and from the contact', async () => {
    const one = await ann.ask('text', { to: group, text: 'who eats?' })
    same((await bob.event('message', m => m.id === one.id)).text, 'who eats?', 'to Bob')
    await ctl('expect', { pn: catPn, text: 'who eats?' })
    await status(ann, one.id, 3)
    const two = await bob.ask('text', { to: group, text: 'me' })
    same((await ann.event('message', m => m.id === two.id)).text, 'me', 'to Ann')
    const three = await ctl('gsend', { from: catPn, group, text: 'me too @Ann', mention: [annPn] })
    const got = await ann.event('message', m => m.id === three.id)
    same([got.text, got.mentions], ['me too @Ann', [annLid]], 'from Cat')
    same((await bob.event('message', m => m.id === three.id)).text, 'me too @Ann', 'from Cat to Bob')
    await ann.ask('react', { to: group, target: three.id, emoji: '🍕' })
    same((await ctl('expect', { pn: catPn, reaction: three.id })).emoji, '🍕', 'reaction')
  })
  await step('members and subject change; who is out gets nothing', async () => {
    await ann.ask('subject', { group, subject: 'Dinner' })
    await bob.event('group-update', u => u.id === group && u.subject === 'Dinner')
    await ctl('gchange', { group, by: annPn, what: 'remove', who: [bobPn] })
    await bob.event('members', m => m.id === group && m.action === 'remove')
    const { id } = await ann.ask('text', { to: group, text: 'without Bob' })
    await ctl('expect', { pn: catPn, text: 'without Bob' })
    same(bob.lines.some(({ parsed }) => parsed.id === id), false, 'Bob sees it')
  })
}

async function administration() {
  const call = async (client, method, ...args) => (await client.ask('call', { method, args })).result
  let group
  await step('Baileys administers a group: list, description, settings, timer, admins, invite link, leave', async () => {
    group = (await ann.ask('create', { subject: 'Club', members: [bobJid] })).group
    await call(ann, 'groupUpdateDescription', group, 'first')
    await call(ann, 'groupUpdateDescription', group, 'second')
    for (const setting of ['announcement', 'locked']) await call(ann, 'groupSettingUpdate', group, setting)
    await call(ann, 'groupToggleEphemeral', group, 86400)
    await call(ann, 'groupMemberAddMode', group, 'admin_add')
    await call(ann, 'groupJoinApprovalMode', group, 'on')
    same(await call(ann, 'groupRequestParticipantsList', group), [], 'requests to join')
    await call(ann, 'groupJoinApprovalMode', group, 'off')
    const seen = (await call(bob, 'groupFetchAllParticipating'))[group]
    same([seen.desc, seen.announce, seen.restrict, seen.ephemeralDuration, seen.memberAddMode, seen.joinApprovalMode],
      ['second', true, true, 86400, false, false], 'what Bob sees')

    const refused = await ann.ask('call', { method: 'groupMetadata', args: ['120363999@g.us'] }).catch(error => String(error))
    same(/item-not-found/.test(refused), true, 'unknown group')
    const mayNot = await bob.ask('subject', { group, subject: 'mine' }).catch(error => String(error))
    same(/forbidden/.test(mayNot), true, 'Bob is no admin')
    same(await call(ann, 'groupParticipantsUpdate', group, [bobLid], 'promote').then(r => r[0].status), '200', 'promoted')
    await bob.ask('subject', { group, subject: 'ours' })

    await call(bob, 'groupLeave', group)
    await ann.event('members', m => m.id === group && m.action === 'remove')
    const old = await call(ann, 'groupInviteCode', group)
    const code = await call(ann, 'groupRevokeInvite', group)
    same((await call(bob, 'groupGetInviteInfo', code)).subject, 'ours', 'what the link shows')
    const gone = await bob.ask('call', { method: 'groupAcceptInvite', args: [old] }).catch(error => String(error))
    same(/gone/.test(gone), true, 'the old link')
    same(await call(bob, 'groupAcceptInvite', code), group, 'joined')
    await call(ann, 'groupSettingUpdate', group, 'not_announcement')
    const { id } = await bob.ask('text', { to: group, text: 'back again' })
    same((await ann.event('message', m => m.id === id)).text, 'back again', 'text')
  })
}

async function inTrouble() {
  await step('a damaged message is asked for again and arrives', async () => {
    await ctl('fault', { pn: annPn, kind: 'flip', messages: 1 })
    const { id } = await ctl('send', { from: catPn, to: annPn, text: 'damaged' })
    await ctl('expect', { pn: catPn, receipt: id, kind: 'retry' })
    same((await ann.event('message', m => m.id === id && m.text)).text, 'damaged', 'text')
    await ctl('fault', { kind: 'clear' })
  })
  await step('a contact with a new phone is talked to again', async () => {
    await ctl('reinstall', { pn: catPn })
    const { id } = await ann.ask('text', { to: `${catPn}@s.whatsapp.net`, text: 'new phone?' })
    same((await ctl('expect', { pn: catPn, text: 'new phone?' })).id, id, 'id')
    const back = await ctl('send', { from: catPn, to: annPn, text: 'yes' })
    same((await ann.event('message', m => m.id === back.id && m.text)).text, 'yes', 'text')
  })
  await step('Baileys reconnects after a drop', async () => {
    await ctl('kick', { pn: annPn, device: 1, how: 'drop' })
    await ann.event('close')
    await ann.event('open')
    const { id } = await ctl('send', { from: catPn, to: annPn, text: 'still there?' })
    same((await ann.event('message', m => m.id === id)).text, 'still there?', 'text')
  })
  await step('a new process with the same state gets what came meanwhile', async () => {
    await bob.ask('stop')
    await bob.ended
    const { id } = await ctl('send', { from: catPn, to: bobPn, text: 'while you were out' })
    bob = baileys('bob')
    await bob.start()
    await bob.event('open')
    same((await bob.event('message', m => m.id === id)).text, 'while you were out', 'text')
  })
  await step('removed in the list of linked devices', async () => {
    await ctl('unlink', { pn: bobPn, device: 1 })
    same((await bob.event('close')).code, 401, 'status code')
  })
}

try {
  await link()
  await withContact()
  await everyKind()
  await betweenTwo()
  await inGroup()
  await administration()
  if (process.env.VERSO) {
    const { withVerso } = await import('./verso.mjs')
    const { withTakeover } = await import('./takeover.mjs')
    if (!process.env.ONLY_TAKEOVER) await withVerso({ Lines, step, same, ctl, world, work, file, ann, annPn, status })
    await withTakeover({ Lines, step, same, ctl, world, work, ann, annPn, catPn, baileys, status, kept: process.env.KEEP_BAILEYS })
  } else {
    console.log('skipped  the Verso account: VERSO names no binary')
  }
  await inTrouble()
  await step('no phone was left with a message it could not open', async () => {
    for (const pn of [annPn, bobPn, catPn])
      same((await ctl('inbox', { pn })).undecryptable.filter(lost => !lost.recovered), [], `lost on ${pn}`)
  })
  const unknown = (await ctl('stats')).unknown_iqs
  if (unknown.length) console.log(`note   IQs the simulator does not know: ${unknown.join(', ')}`)
} catch (error) {
  if (!failed.length) {
    failed.push('the runner')
    console.log(error.stack)
  }
  if (process.env.TRACE) console.error((await ctl('trace', { since: 0 }).catch(() => ({ lines: [] }))).lines.slice(-60).join('\n'))
} finally {
  for (const { child, exit } of children) if (exit === undefined) child.kill()
  await Promise.all(children.map(child => child.ended))
  await rm(work, { recursive: true, force: true })
}
console.log(failed.length ? `failed: ${failed.join('; ')}` : 'all steps held')
process.exit(failed.length ? 1 : 0)
