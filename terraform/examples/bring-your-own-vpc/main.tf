# Into a network that is there already, with AWS's own keys, and sentries that are known by their role.

provider "aws" {
  region = var.region
}

module "controller" {
  source = "../../modules/aws/controller"

  name                   = "picket"
  vpc_id                 = var.vpc_id
  subnet_id              = var.private_subnet_id
  balancer_subnet_ids    = var.public_subnet_ids
  agents_prefix_list_ids = { all = var.prefix_list_ids.agents }
  ami_id                 = var.ami_id
  sts_issuer             = var.sts_issuer
  enroll                 = module.sentries[*].enroll_rule
}

module "sentries" {
  source = "../../modules/aws/sentries"
  count  = var.ca_fingerprint == null ? 0 : 1

  name                      = "picket"
  vpc_id                    = var.vpc_id
  subnet_ids                = var.public_subnet_ids
  controller_url            = module.controller.url
  ca_fingerprint            = var.ca_fingerprint
  proof                     = "aws-sts"
  ami_id                    = var.ami_id
  instance_types            = ["c6i.large"]
  warm_pool                 = { min = 1 }
  wireguard_prefix_list_ids = { all = var.prefix_list_ids.wireguard }

  ports = {
    p2p = { port = 7100, prefix_list_ids = { all = var.prefix_list_ids.p2p } }
    rpc = { port = 9000, prefix_list_ids = { all = var.prefix_list_ids.rpc } }
  }
}
