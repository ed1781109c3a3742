// RingCentral's own softphone: registers, answers one INVITE, talks back, and tells what it heard.
import Softphone from 'ringcentral-softphone';

// 20 ms each.
const PACKETS = 50;
const PACKET_BYTES = 160;

const softphone = new Softphone({ ...JSON.parse(process.env.SIP_ACCOUNT), codec: 'PCMU/8000' });
softphone.on('invite', async (invite) => {
  const heard = [];
  const session = await softphone.answer(invite);
  console.log(`answered ${invite.getHeader('p-rc-api-ids')}`);
  // Half a scale in mu-law, alternating in sign: loud, and nobody's voice.
  const talk = Buffer.alloc(10 * PACKETS * PACKET_BYTES, Buffer.from([0x8f, 0x0f]));
  session.streamAudio(talk);
  session.on('audioPacket', async (packet) => {
    heard.push(packet.payload);
    if (heard.length !== PACKETS) return;
    console.log(`heard ${Buffer.concat(heard).toString('base64')}`);
    await session.hangup();
    console.log('hung up');
  });
});
await softphone.register();
console.log('registered');
