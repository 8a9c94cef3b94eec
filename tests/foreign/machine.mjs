// One installation of Verso: a state folder, the `verso` command, its gateway.
import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const freePort = () => new Promise((resolve, reject) => {
  const server = createServer()
  server.on('error', reject)
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => resolve(port))
  })
})

export async function until(what, holds) {
  const end = performance.now() + 30_000
  for (;;) {
    const last = await holds().catch(error => ({ error }))
    if (last && !last.error) return last
    if (performance.now() > end) throw new Error(`${what} did not come: ${last?.error ?? 'no'}`)
    await new Promise(resolve => setTimeout(resolve, 100))
  }
}

/** `whatsapp` is the section channels.whatsapp of its configuration; without it none is written. */
export async function machine({ Lines, world, work, name, whatsapp, gateway = {} }) {
  const state = join(work, name)
  await mkdir(state, { recursive: true, mode: 0o700 })
  const port = await freePort()
  if (whatsapp)
    await writeFile(join(state, 'verso.json'), JSON.stringify({ gateway: { ...gateway, port }, channels: { whatsapp } }))
  const env = { ...process.env, HOME: work, VERSO_STATE_DIR: state, VERSO_WHATSAPP_URL: world.ws }
  const verso = (...args) => new Promise((resolve, reject) => {
    const child = spawn(process.env.VERSO, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    let out = '', err = ''
    child.stdout.on('data', data => { out += data })
    child.stderr.on('data', data => { err += data })
    child.on('error', reject)
    child.on('exit', code => code === 0 ? resolve(out)
      : reject(new Error(`verso ${args.join(' ')} ended with ${code}\n${out}${err}`)))
  })
  return {
    state, env, verso, port,
    gateway: (...args) => new Lines(name, process.env.VERSO, ['gateway', ...args], { env }),
    connected: () => until('the connection', async () => {
      const { channelAccounts } = JSON.parse(await verso('channels', 'status', '--json'))
      return channelAccounts.whatsapp[0].connected
    }),
  }
}
