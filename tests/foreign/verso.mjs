// The steps with a Verso account: the `verso` binary (feature demo) as a person runs it, and Baileys as the other side.
import { machine, until } from './machine.mjs'

const number = '15550100009'

export async function withVerso({ Lines, step, same, ctl, world, work, file, ann, annPn, status }) {
  const whatsapp = { dmPolicy: 'allowlist', allowFrom: [`+${annPn}`], groups: { '*': { requireMention: false } },
    ackReaction: { emoji: '👀', direct: true, group: 'always' } }
  const { env, verso, connected, gateway: start } = await machine({ Lines, world, work, name: 'verso', whatsapp })

  const gateway = start()
  await step('verso gateway starts', () => until('health', () => verso('health')))

  await step('the Verso account links by code', async () => {
    const login = new Lines('login', process.env.VERSO, ['channels', 'login', '--phone', `+${number}`], { env })
    const { line } = await login.expect('a code', ({ line }) => /^\s*[A-Z0-9]{4}-?[A-Z0-9]{4}\s*$/.test(line ?? ''))
    await ctl('code', { pn: number, code: line.trim().replace('-', '') })
    same(await login.ended, 0, 'exit code of the login')
    await connected()
  })

  // The account's phone confirms too; this is the companion's own receipt, which it gives for what it could open.
  const receivedByVerso = id => until(`Verso's receipt for ${id}`, async () => {
    const { lines } = await ctl('trace')
    const receipt = lines.find(l => l.includes(`+${number}:1 -> <receipt`) && l.includes(`"${id}"`))
    if (receipt?.includes('type="retry"')) throw new Error(receipt)
    return receipt
  })
  // Baileys merges updates that come together, the last one winning: "read" right before the phone's "delivered" is then
  // reported as delivered. So the stanza that reached Baileys counts.
  const readByVerso = id => until(`the read receipt for ${id}`, async () => {
    const { lines } = await ctl('trace')
    return lines.some(l => l.includes(`+${annPn}:1 <- <receipt`) && l.includes('type="read"') && l.includes(`"${id}"`))
  })
  const jid = `${number}@s.whatsapp.net`
  await step('a Baileys user writes to the Verso account, sees it type and is answered by its agent', async () => {
    const { id } = await ann.ask('text', { to: jid, text: 'hello Verso' })
    await ann.event('presence', p => Object.values(p.presences).some(seen => seen.lastKnownPresence === 'composing'))
    same((await ann.event('message', m => m.reaction?.target === id)).reaction.emoji, '👀', 'reaction of the Verso account')
    const answer = await ann.event('message', m => !m.fromMe && m.text?.includes('hello Verso'))
    same([answer.chat, answer.chatAlt].includes(jid), true, 'the answer comes from the Verso account')
    await status(ann, id, 3)
    await readByVerso(id)
    await ann.ask('read', { target: answer.id })
  })
  await step('verso message send reaches the Baileys user, who answers, reacts and sends an image', async () => {
    await verso('message', 'send', '--target', `+${annPn}`, '--message', 'a word from the shell')
    const got = await ann.event('message', m => m.text === 'a word from the shell')
    await ann.ask('read', { target: got.id })
    const reaction = await ann.ask('react', { to: got.chat, target: got.id, emoji: '👍' })
    await receivedByVerso(reaction.id)
    const image = await ann.ask('image', { to: jid, file, caption: 'for Verso' })
    await receivedByVerso(image.id)
    // The echo agent says back the caption: the gateway understood the image, not only the library.
    await ann.event('message', m => !m.fromMe && m.text?.includes('for Verso'))
  })
  await step('group text goes from the Verso account to Baileys and back', async () => {
    const { group } = await ann.ask('create', { subject: 'With Verso', members: [jid] })
    await verso('message', 'send', '--target', group, '--message', 'hello group')
    const got = await ann.event('message', m => m.chat === group && m.text === 'hello group')
    const { id } = await ann.ask('text', { to: group, text: 'hello in the group' })
    await receivedByVerso(id)
    await ann.event('message', m => m.chat === group && !m.fromMe && m.text === 'hello in the group')
    await receivedByVerso((await ann.ask('react', { to: group, target: got.id, emoji: '🎉' })).id)
  })
  await step('the Verso account comes back after its connection dropped', async () => {
    await ctl('kick', { pn: number, device: 1, how: 'drop' })
    await ann.ask('text', { to: jid, text: 'still there?' })
    await ann.event('message', m => !m.fromMe && m.text?.includes('still there?'))
  })
  await step('no phone of the Verso account was left with a message it could not open', async () => {
    same((await ctl('inbox', { pn: number })).undecryptable.filter(lost => !lost.recovered), [], 'lost')
  })
  await step('SIGTERM ends the gateway within 10 s', async () => {
    const start = performance.now()
    gateway.child.kill('SIGTERM')
    same(await gateway.ended, 0, 'exit code')
    same(performance.now() - start < 10_000, true, 'in time')
  })
}
