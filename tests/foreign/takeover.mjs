// A link moves: from Baileys to Verso without scanning, and back. In the same chats, in both directions, with every session going
// on: nobody may have to ask for a message again.
import { cp, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { machine } from './machine.mjs'

const number = '15550100010'

export async function withTakeover({ Lines, step, same, ctl, world, work, ann, annPn, catPn, baileys, status, kept }) {
  const jid = `${number}@s.whatsapp.net`
  let dan, group, mark, linked
  // Retry receipts of the moving device, and of the others for its messages.
  const retries = async () => (await ctl('trace')).lines
    .filter(l => l.includes('type="retry"') && (l.includes(`+${number}:1 -> <receipt`) || l.includes(`+${number}:1 <- <receipt`)))
  const sameSessions = async () => {
    same(await retries(), mark, 'retries since the link moved')
    same(await ctl('devices', { pn: number }), linked, 'devices: nobody scanned anything')
  }

  await step('the link that will move: Baileys chats with a Baileys user, a contact and a group', async () => {
    dan = baileys('dan')
    await dan.start({ code: number })
    await ctl('code', { pn: number, code: (await dan.event('code')).code })
    await dan.event('open')
    const hello = await dan.ask('text', { to: `${annPn}@s.whatsapp.net`, text: 'Dan here' })
    const got = await ann.event('message', m => m.id === hello.id)
    await status(dan, hello.id, 3)
    const back = await ann.ask('text', { to: got.chat, text: 'hello Dan' })
    await dan.event('message', m => m.id === back.id)
    const cat = await ctl('send', { from: catPn, to: number, text: 'Cat here' })
    await dan.event('message', m => m.id === cat.id)
    await dan.ask('text', { to: `${catPn}@s.whatsapp.net`, text: 'hello Cat from Dan' })
    await ctl('expect', { pn: catPn, text: 'hello Cat from Dan' })
    group = (await ann.ask('create', { subject: 'Moving', members: [jid, `${catPn}@s.whatsapp.net`] })).group
    const one = await ann.ask('text', { to: group, text: 'in the group' })
    await dan.event('message', m => m.id === one.id)
    const two = await ctl('gsend', { from: catPn, group, text: 'Cat in the group' })
    await dan.event('message', m => m.id === two.id)
    const three = await dan.ask('text', { to: group, text: 'Dan in the group' })
    await ann.event('message', m => m.id === three.id)
    await ctl('expect', { pn: catPn, text: 'Dan in the group' })
    await dan.ask('stop')
    await dan.ended
    if (kept) await cp(join(work, 'dan'), kept, { recursive: true })
    mark = await retries()
    linked = await ctl('devices', { pn: number })
  })

  const whatsapp = { dmPolicy: 'open', allowFrom: ['*'], groups: { '*': { requireMention: false } } }
  const home = await machine({ Lines, world, work, name: 'moved', whatsapp })
  let gateway
  await step('verso channels import takes the folder over', async () => {
    await ctl('send', { from: catPn, to: number, text: 'while moving' })
    const report = JSON.parse(await home.verso('channels', 'import', '--from', join(work, 'dan'), '--json'))
    same([report.skipped, report.sessions > 0, report.senderKeys > 0, report.preKeys > 0, report.lidMappings > 0],
      [[], true, true, true, true], 'report')
    const again = await home.verso('channels', 'import', '--from', join(work, 'dan')).catch(String)
    same(/linked already/.test(again), true, 'refuses to overwrite a link')
    gateway = home.gateway()
    await home.connected()
    await ctl('expect', { pn: catPn, text: 'while moving' })
  })
  await step('Verso goes on in the same chats, both ways, without a retry', async () => {
    const one = await ann.ask('text', { to: jid, text: 'still Dan?' })
    await ann.event('message', m => !m.fromMe && m.text?.includes('still Dan?'))
    await status(ann, one.id, 3)
    await ctl('send', { from: catPn, to: number, text: 'Cat asks' })
    await ctl('expect', { pn: catPn, text: 'Cat asks' })
    await home.verso('message', 'send', '--target', `+${annPn}`, '--message', 'Verso for Dan')
    await ann.event('message', m => m.text === 'Verso for Dan')
    await ann.ask('text', { to: group, text: 'group, are you there?' })
    await ann.event('message', m => m.chat === group && !m.fromMe && m.text?.includes('group, are you there?'))
    await ctl('gsend', { from: catPn, group, text: 'Cat to the group' })
    await ann.event('message', m => m.chat === group && !m.fromMe && m.text === 'Cat to the group')
    await home.verso('message', 'send', '--target', group, '--message', 'Verso in the group')
    await ann.event('message', m => m.chat === group && m.text === 'Verso in the group')
    await ctl('expect', { pn: catPn, text: 'Verso in the group' })
    await sameSessions()
  })
  await step('verso channels export writes a folder for Baileys; the account is not linked any more', async () => {
    const busy = await home.verso('channels', 'export', '--to', join(work, 'dan-back')).catch(String)
    same(/uses the WhatsApp account/.test(busy), true, 'refuses while the link runs')
    await home.verso('channels', 'stop')
    await home.verso('channels', 'export', '--to', join(work, 'dan-back'))
    const refused = await home.verso('channels', 'export', '--to', join(work, 'dan-back')).catch(String)
    same(/no linked device/.test(refused), true, 'a second export')
    const started = await home.verso('channels', 'start').catch(String)
    same(/not linked/.test(started), true, 'start after the export')
    same((await stat(join(work, 'dan-back', 'creds.json'))).mode & 0o077, 0, 'others may not read it')
    gateway.child.kill('SIGTERM')
    same(await gateway.ended, 0, 'exit code')
  })
  await step('Baileys goes on in the same chats, both ways, without a retry', async () => {
    const { id } = await ctl('send', { from: catPn, to: number, text: 'and back' })
    dan = baileys('dan-back')
    await dan.start()
    await dan.event('open')
    await dan.event('message', m => m.id === id && m.text === 'and back')
    const one = await ann.ask('text', { to: jid, text: 'Baileys again?' })
    await dan.event('message', m => m.id === one.id)
    const two = await dan.ask('text', { to: `${annPn}@s.whatsapp.net`, text: 'yes, Baileys' })
    await ann.event('message', m => m.id === two.id)
    await dan.ask('text', { to: `${catPn}@s.whatsapp.net`, text: 'Baileys to Cat' })
    await ctl('expect', { pn: catPn, text: 'Baileys to Cat' })
    const three = await ann.ask('text', { to: group, text: 'the group again' })
    await dan.event('message', m => m.id === three.id && m.text === 'the group again')
    const four = await ctl('gsend', { from: catPn, group, text: 'Cat again' })
    await dan.event('message', m => m.id === four.id && m.text === 'Cat again')
    const five = await dan.ask('text', { to: group, text: 'Dan is back' })
    await ann.event('message', m => m.id === five.id)
    await ctl('expect', { pn: catPn, text: 'Dan is back' })
    await sameSessions()
    await dan.ask('stop')
    await dan.ended
  })

  const old = join(work, 'openclaw')
  const next = await machine({ Lines, world, work, name: 'migrated' })
  await step('verso migrate openclaw moves configuration, pairing, link and conversations', async () => {
    const auth = join(old, 'credentials', 'whatsapp', 'default')
    await cp(join(work, 'dan-back'), auth, { recursive: true })
    const sessions = join(old, 'agents', 'main', 'sessions')
    await mkdir(sessions, { recursive: true })
    const write = (path, value) => writeFile(path, typeof value === 'string' ? value : JSON.stringify(value))
    await write(join(old, 'openclaw.json'), `{ // as people have it
      gateway: { port: ${next.port}, mode: 'local' }, browser: { enabled: true },
      channels: { whatsapp: { dmPolicy: 'pairing', allowFrom: ['+${catPn}'], groups: { $include: './groups.json' }, groupPolicy: 'open' },
        telegram: { enabled: false, botToken: '\${TELEGRAM_BOT_TOKEN}' } } }`)
    await write(join(old, 'credentials', 'whatsapp-allowFrom.json'), { version: 1, allowFrom: [`+${annPn}`] })
    await write(join(old, 'credentials', 'oauth.json'), {})
    await write(join(old, 'groups.json'), { '*': { requireMention: false } })
    await write(join(sessions, 'sessions.json'), {
      'agent:main:main': { sessionId: 'old-1', updatedAt: 1, chatType: 'direct', channel: 'whatsapp', lastTo: `+${annPn}` },
      [`agent:main:whatsapp:group:${group}`]: { sessionId: 'old-2', updatedAt: 1, chatType: 'group', channel: 'whatsapp' },
      'agent:main:telegram:direct:7': { sessionId: 'old-3', updatedAt: 1, channel: 'telegram' } })
    const at = '2026-02-09T10:00:00.000Z'
    const said = (...turns) => [{ type: 'session', version: 3, id: 's', timestamp: at, cwd: '/' },
      ...turns.map((text, n) => ({ type: 'message', id: `${n}`, parentId: n ? `${n - 1}` : null, timestamp: at,
        message: { role: n % 2 ? 'assistant' : 'user', content: [{ type: 'text', text }], timestamp: 1770631200000 + n } }))]
      .map(line => `${JSON.stringify(line)}\n`).join('')
    await write(join(sessions, 'old-1.jsonl'), said('from before', 'an answer'))
    await write(join(sessions, 'old-2.jsonl'), said('from the group before'))
    const plan = JSON.parse(await next.verso('migrate', 'openclaw', '--from', old, '--dry-run', '--json'))
    same(plan.done.map(d => d.what), ['config', 'pairing', 'link', 'sessions'], 'what would move')
    same(await readdir(next.state), [], 'a dry run writes nothing')
    const did = JSON.parse(await next.verso('migrate', 'openclaw', '--from', old, '--json'))
    same(did.done.map(d => d.what), ['config', 'pairing', 'link', 'sessions'], 'what moved')
    same(/browser/.test(JSON.stringify(did.left)), true, 'what is not served is named')
    for (const [file, text] of [['old-1.jsonl', 'an answer'], ['old-2.jsonl', 'from the group before']])
      same((await readFile(join(next.state, 'agents', 'main', 'sessions', file), 'utf8')).includes(text), true, `transcript ${file}`)
    const again = JSON.parse(await next.verso('migrate', 'openclaw', '--from', old, '--json'))
    same(again.done, [], 'nothing is overwritten')
  })
  await step('the migrated gateway goes on with the people who were let in, without a retry', async () => {
    gateway = next.gateway()
    await next.connected()
    await ann.ask('text', { to: jid, text: 'migrated?' })
    await ann.event('message', m => !m.fromMe && m.text?.includes('migrated?'))
    await ctl('send', { from: catPn, to: number, text: 'Cat after the migration' })
    await ctl('expect', { pn: catPn, text: 'Cat after the migration' })
    await next.verso('message', 'send', '--target', `+${annPn}`, '--message', 'migrated to Ann')
    await ann.event('message', m => m.text === 'migrated to Ann')
    await ann.ask('text', { to: group, text: 'the group, migrated?' })
    await ann.event('message', m => m.chat === group && !m.fromMe && m.text?.includes('the group, migrated?'))
    await ctl('gsend', { from: catPn, group, text: 'Cat to the migrated group' })
    await ann.event('message', m => m.chat === group && !m.fromMe && m.text === 'Cat to the migrated group')
    await next.verso('message', 'send', '--target', group, '--message', 'migrated to the group')
    await ann.event('message', m => m.chat === group && m.text === 'migrated to the group')
    await ctl('expect', { pn: catPn, text: 'migrated to the group' })
    await sameSessions()
    gateway.child.kill('SIGTERM')
    same(await gateway.ended, 0, 'exit code')
  })
}
