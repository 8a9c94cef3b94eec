// NOTE FROM THE LEAD, 23:25: I overwrote your file here by mistake. Your version (AccountState, LinkMachine::on, Input::Enable,
// Action::ShowCodes/StartTimer/Resume, ...) is the one that counts: please write it again from your context, and delete this note.
