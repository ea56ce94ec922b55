"""What is edited into the kernel's source before it is built: what no option of the configuration can do."""

from __future__ import annotations

# (file, before, after); each `before` stands in its file exactly once.
EDITS = (
    # At 100, TCP's timers (retransmission, delayed ACK) would be quantised to 10 ms.
    ("arch/um/Kconfig", "config HZ\n\tint\n\tdefault 100\n", "config HZ\n\tint\n\tdefault 1000\n"),
    # FRR rounds the time until its next timer down to milliseconds, and then asks without waiting whether
    # anything has happened until the rest is over. On a clock that moves only when everybody waits that is
    # thousands of questions, and nobody else runs. Who has asked eight times on end naps between the next.
    # A thread of it that is told of a closed connection asks again until another has forgotten that one:
    # it lets others go first, or they would never run.
    (
        "fs/select.c",
        "\treturn count;\n}\n\n#define N_STACK_PPS",
        (
            "\tif (count > 0 ||\n"
            "\t    (!count && end_time && !end_time->tv_sec && !end_time->tv_nsec))\n"
            "\t\ttime_travel_polled(count > 0);\n"
            "\treturn count;\n}\n\n#define N_STACK_PPS"
        ),
    ),
    (
        "fs/select.c",
        "#include <linux/uaccess.h>\n",
        "#include <linux/uaccess.h>\n\nextern void time_travel_polled(bool found);\n",
    ),
    (
        "arch/um/kernel/time.c",
        "void time_travel_sleep(void)\n{\n",
        (
            "void time_travel_polled(bool found);\n"
            "void time_travel_polled(bool found)\n{\n"
            "\tstatic struct task_struct *asking;\n"
            "\tstatic unsigned long long asked;\n"
            "\tstatic unsigned int times;\n"
            "\tktime_t nap = 50 * NSEC_PER_USEC;\n\n"
            "\tif (time_travel_mode != TT_MODE_INFCPU)\n\t\treturn;\n"
            "\tif (asking != current || time_travel_time - asked > 2 * nap)\n\t\ttimes = 0;\n"
            "\tasking = current;\n"
            "\tasked = time_travel_time;\n"
            "\tif (++times <= 8)\n\t\treturn;\n"
            "\tif (found) {\n\t\tyield();\n\t\treturn;\n\t}\n"
            "\tset_current_state(TASK_INTERRUPTIBLE);\n"
            "\tschedule_hrtimeout(&nap, HRTIMER_MODE_REL);\n"
            "\tasked = time_travel_time;\n"
            "}\n\n"
            "void time_travel_sleep(void)\n{\n"
        ),
    ),
    # The command line names folders, and where a run's folder lies must not change what it draws.
    (
        "drivers/char/random.c",
        "\t_mix_pool_bytes(command_line, strlen(command_line));\n",
        "\t(void)command_line;\n",
    ),
    # Nor must the instant at which something happens, to the nanosecond: how long Python takes to start
    # depends on where it lies. What the guest draws is a matter of the seed and of how often it drew.
    (
        "drivers/char/random.c",
        "#include <asm/irq.h>\n",
        "#include <asm/irq.h>\n#undef random_get_entropy\n#define random_get_entropy() 0UL\n",
    ),
    (
        "drivers/char/random.c",
        "void add_interrupt_randomness(int irq)\n{\n",
        "void add_interrupt_randomness(int irq)\n{\n\treturn;\n",
    ),
    # User-Mode Linux shows its clock in steps of 256 ns while it runs on in between, so that an instant
    # of the past can never be met again exactly. With steps of 1 ns it can, and stamps are exact.
    (
        "arch/um/kernel/time.c",
        "\t\treturn time_travel_time / TIMER_MULTIPLIER;\n",
        "\t\treturn time_travel_time;\n",
    ),
    (
        "arch/um/kernel/time.c",
        "\treturn os_nsecs() / TIMER_MULTIPLIER;\n",
        "\treturn os_nsecs();\n",
    ),
    (
        "arch/um/kernel/time.c",
        "clocksource_register_hz(&timer_clocksource, NSEC_PER_SEC/TIMER_MULTIPLIER);",
        "clocksource_register_hz(&timer_clocksource, NSEC_PER_SEC);",
    ),
    # Programs that read the processor's time stamp counter (Go's runtime draws from it) see the virtual
    # clock instead: the instruction traps (prctl(2), PR_SET_TSC), and is carried out here. Only for those
    # whose personality(2) has a flag that means nothing else on Linux, since the host has to turn the trap on
    # and off whenever it changes between a program that has it and the guest kernel.
    (
        "arch/um/kernel/time.c",
        "#include <linux/mm.h>\n",
        "#include <linux/mm.h>\n#include <linux/personality.h>\n",
    ),
    (
        "arch/um/kernel/time.c",
        "static struct clocksource timer_clocksource = {\n",
        (
            "unsigned long long time_travel_counter(void);\n"
            "unsigned long long time_travel_counter(void)\n{\n\treturn timer_read(NULL);\n}\n\n"
            "int time_travel_counted(void);\n"
            "int time_travel_counted(void)\n{\n"
            "\treturn time_travel_mode != TT_MODE_OFF && current->personality & WHOLE_SECONDS;\n}\n\n"
            "static struct clocksource timer_clocksource = {\n"
        ),
    ),
    (
        "arch/um/os-Linux/skas/process.c",
        "#include <sys/wait.h>\n",
        "#include <sys/wait.h>\n#include <sys/prctl.h>\n",
    ),
    (
        "arch/um/os-Linux/skas/process.c",
        "\tsignal(SIGWINCH, SIG_IGN);\n",
        ("\tsignal(SIGWINCH, SIG_IGN);\n\tif (counted)\n\t\tprctl(PR_SET_TSC, PR_TSC_SIGSEGV);\n"),
    ),
    (
        "arch/um/os-Linux/skas/process.c",
        "static int userspace_tramp(void *stack)\n{\n",
        (
            "extern int time_travel_counted(void);\nstatic int counted;\n\n"
            "static int userspace_tramp(void *stack)\n{\n"
        ),
    ),
    (
        "arch/um/os-Linux/skas/process.c",
        "\t/* clone into new userspace process */\n",
        "\tcounted = time_travel_counted();\n\n\t/* clone into new userspace process */\n",
    ),
    (
        "arch/um/os-Linux/skas/process.c",
        "static void handle_trap(int pid, struct uml_pt_regs *regs)\n{\n",
        (
            "extern unsigned long long time_travel_counter(void);\n\n"
            "/* RDTSC or RDTSCP; words are read where they are aligned,"
            " so none reaches into the next page */\n"
            "static int read_counter(int pid, struct uml_pt_regs *regs)\n{\n"
            "\tunsigned long long now;\n"
            "\tunsigned long at = UPT_IP(regs) & ~7UL, shift = (UPT_IP(regs) & 7) * 8, word;\n\n"
            "\tword = (unsigned long)ptrace(PTRACE_PEEKTEXT, pid, at, 0) >> shift;\n"
            "\tif (shift > 40)\n"
            "\t\tword |= (unsigned long)ptrace(PTRACE_PEEKTEXT, pid, at + 8, 0) << (64 - shift);\n"
            "\tif ((word & 0xffff) == 0x310f) {\n"
            "\t\tUPT_IP(regs) += 2;\n"
            "\t} else if ((word & 0xffffff) == 0xf9010f) {\n"
            "\t\tUPT_IP(regs) += 3;\n"
            "\t\tregs->gp[HOST_CX] = 0;\n"
            "\t} else {\n\t\treturn 0;\n\t}\n"
            "\tnow = time_travel_counter();\n"
            "\tregs->gp[HOST_AX] = now & 0xffffffff;\n"
            "\tregs->gp[HOST_DX] = now >> 32;\n"
            "\treturn 1;\n}\n\n"
            "static void handle_trap(int pid, struct uml_pt_regs *regs)\n{\n"
        ),
    ),
    (
        "arch/um/os-Linux/skas/process.c",
        "\t\t\t\tif (PTRACE_FULL_FAULTINFO) {\n",
        (
            "\t\t\t\tif (si.si_code == SI_KERNEL && read_counter(pid, regs))\n\t\t\t\t\tbreak;\n"
            "\t\t\t\tif (PTRACE_FULL_FAULTINFO) {\n"
        ),
    ),
    # Every timer interrupt clears a set of registers on its stack for those who look whence it came. None
    # looks at the floating-point ones, which are nearly all of it: a transfer takes 6 % less time.
    (
        "arch/um/os-Linux/signal.c",
        "\t\tmemset(&regs, 0, sizeof(regs));\n",
        (
            "\t{\n\t\tmemset(regs.gp, 0, sizeof(regs.gp));\n"
            "\t\tmemset(&regs.faultinfo, 0, sizeof(regs.faultinfo));\n"
            "\t\tregs.syscall = 0;\n\t\tregs.is_user = 0;\n\t}\n"
        ),
    ),
    (
        "net/sched/Kconfig",
        "config NET_SCH_NETEM\n",
        (
            'config NET_SCH_LINE\n\tbool "A line that sends one packet at a time"\n\tselect CRC32\n\n'
            "config NET_SCH_NETEM\n"
        ),
    ),
    (
        "net/sched/Makefile",
        "obj-$(CONFIG_NET_SCH_NETEM)\t+= sch_netem.o\n",
        "obj-$(CONFIG_NET_SCH_NETEM)\t+= sch_netem.o\nobj-$(CONFIG_NET_SCH_LINE)\t+= sch_line.o\n",
    ),
    # A packet that overtakes others spares itself the delay, not the queue and the line behind it.
    (
        "net/sched/sch_netem.c",
        "\t\t__qdisc_enqueue_head(skb, &sch->q);\n",
        "\t\ttfifo_enqueue(skb, sch);\n",
    ),
    # Which bit is flipped comes from the link's own seed, as do its losses.
    (
        "net/sched/sch_netem.c",
        (
            "\t\tif (skb_headlen(skb))\n"
            "\t\t\tskb->data[get_random_u32_below(skb_headlen(skb))] ^=\n"
            "\t\t\t\t1 << get_random_u32_below(8);\n"
        ),
        (
            "\t\tif (skb_headlen(skb)) {\n"
            "\t\t\tu64 draw = prandom_u32_state(&q->prng.prng_state);\n"
            "\t\t\tu32 bit = draw * skb_headlen(skb) * BITS_PER_BYTE >> 32;\n\n"
            "\t\t\tskb->data[bit / BITS_PER_BYTE] ^= 1 << bit % BITS_PER_BYTE;\n"
            "\t\t}\n"
        ),
    ),
    # So does where correlated draws begin; and they, a burst of losses and an average go on as they were
    # when something else is changed.
    (
        "net/sched/sch_netem.c",
        "\tstate->rho = rho;\n\tstate->last = get_random_u32();\n",
        "\tif (state->rho != rho)\n\t\tstate->last = U32_MAX / 2;\n\tstate->rho = rho;\n",
    ),
    (
        "net/sched/sch_netem.c",
        "\t\t\tgoto unlock;\n\t\t}\n\t} else {\n\t\tq->loss_model = CLG_RANDOM;\n",
        (
            "\t\t\tgoto unlock;\n\t\t}\n"
            "\t\tif (q->loss_model == old_loss_model)\n\t\t\tq->clg.state = old_clg.state;\n"
            "\t} else {\n\t\tq->loss_model = CLG_RANDOM;\n"
        ),
    ),
    # A distribution can be given to a delay and never taken away: one of a single value stands for none.
    ("net/sched/sch_netem.c", "\tif (dist == NULL)\n", "\tif (dist == NULL || dist->size == 1)\n"),
    # RED throws its queue and its average away whenever it is told anything, be it what it knows.
    (
        "net/sched/sch_red.c",
        "\tif (ctl->limit > 0) {\n",
        (
            "\tif (q->qdisc != &noop_qdisc) {\n"
            "\t\terr = fifo_set_limit(q->qdisc, ctl->limit);\n"
            "\t\tif (err)\n\t\t\treturn err;\n"
            "\t} else if (ctl->limit > 0) {\n"
        ),
    ),
    ("net/sched/sch_red.c", "\tred_set_vars(&q->vars);\n", "\tif (child)\n\t\tred_set_vars(&q->vars);\n"),
    # fq_codel cannot change the number of its flows, but may be told again what it is.
    (
        "net/sched/sch_fq_codel.c",
        "\t\tif (q->flows)\n\t\t\treturn -EINVAL;\n",
        "\t\tif (q->flows && q->flows_cnt != nla_get_u32(tb[TCA_FQ_CODEL_FLOWS]))\n\t\t\treturn -EINVAL;\n",
    ),
)
